"""The bench of the agent's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.model.agent_bench import AgentBench


@pytest.fixture
def bench(tmp_path: Path) -> AgentBench:
    """A new bench over an empty staged folder."""
    root = tmp_path / "staged"
    root.mkdir()
    return AgentBench(root)
