"""Servers that are killed and disks that fill up: `make chaos` runs these, `make test` does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusters import debian_15, embedded_18


@pytest.fixture(params=["15", "18"])
def programs(request: pytest.FixtureRequest) -> Path:
    """The programs of each version."""
    return debian_15() if request.param == "15" else embedded_18()
