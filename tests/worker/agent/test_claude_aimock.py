"""ClaudeModel against an independent Messages API server gives the same build as the recording itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobvibe_worker.agent.claude_model import ClaudeModel, Profile
from mobvibe_worker.agent.recorded_model import RecordedModel
from mobvibe_worker.agent.recordings import find_recording
from mobvibe_worker.events import FileChange, Message, Payload
from support.model.agent_bench import AgentBench
from support.model.aimock import aimock, install_aimock


@pytest.fixture(scope="session")
def aimock_program() -> Path:
    return install_aimock()


def facts(events: list[Payload]) -> list[Payload]:
    """The events that do not depend on how the text was split into pieces."""
    return [event for event in events if isinstance(event, FileChange | Message)]


@pytest.mark.parametrize("profile", ["claude", "local"])
async def test_a_build_over_http_equals_the_build_of_its_recording(
    tmp_path: Path,
    bench: AgentBench,
    aimock_program: Path,
    profile: Profile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    recording = find_recording("habit-tracker")
    (tmp_path / "replayed").mkdir()
    replayed = AgentBench(tmp_path / "replayed")
    await replayed.run(RecordedModel(recording, pace=0))
    async with aimock(aimock_program, recording, tmp_path) as url:
        model = ClaudeModel(api_key="sk-test", base_url=url, profile=profile)
        result = await bench.run(model, recording.prompt)
        await model.close()
    assert result.turns == len(recording.turns)
    assert bench.staged.snapshot() == replayed.staged.snapshot()
    assert facts(bench.events) == facts(replayed.events)
