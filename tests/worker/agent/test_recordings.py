"""The shipped recordings are complete, honest and playable through the real loop."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mobvibe_worker.agent.model import Conversation
from mobvibe_worker.agent.recorded_model import RecordedModel
from mobvibe_worker.agent.recordings import Recording, find_recording, load_recordings
from mobvibe_worker.errors import InputError
from mobvibe_worker.events import FileChange, Thinking
from support.model.agent_bench import AgentBench

STARTER_APP = "export default function App() {\n  return null;\n}\n" + "// starter\n" * 40


def test_there_are_recordings_and_their_base_recordings_exist() -> None:
    recordings = load_recordings()
    names = [recording.name for recording in recordings]
    assert len(names) == len(set(names)) >= 4
    assert {"tip-splitter", "tip-splitter-dark"} <= set(names)
    for before, recording in pairwise(recordings):
        assert recording.changes is None or recording.changes == (before.changes or before.name)


def test_an_unknown_name_suggests_existing_ones() -> None:
    with pytest.raises(InputError) as raised:
        find_recording("tip-spliter")
    assert "Did you mean tip-splitter?" in raised.value.remedy
    assert "pomodoro" in raised.value.remedy


@pytest.mark.parametrize("recording", load_recordings(), ids=lambda one: str(one.name))
async def test_every_call_of_a_recording_is_carried_out(
    bench: AgentBench, recording: Recording
) -> None:
    # This checker sees no types; the toolchain's tests play the tip splitter's fix.
    (bench.root / "App.tsx").write_text(STARTER_APP)
    if recording.changes is not None:
        await bench.run(RecordedModel(find_recording(recording.changes), pace=0))
    fresh = AgentBench(bench.root)
    await fresh.run(RecordedModel(recording, pace=0), recording.prompt)
    assert [result["content"] for result in fresh.results() if result.get("is_error")] == []
    assert any(isinstance(event, FileChange) for event in fresh.events)
    assert any(isinstance(event, Thinking) for event in fresh.events)


async def test_every_request_starts_with_the_same_prefix_and_messages_only_grow(
    bench: AgentBench,
) -> None:
    recording = find_recording("habit-tracker")
    sent: list[str] = []

    class Watched(RecordedModel):
        def turn(self, conversation: Conversation):  # type: ignore[no-untyped-def]
            sent.append(repr((conversation.system, conversation.tools, conversation.messages)))
            return super().turn(conversation)

    await bench.run(Watched(recording, pace=0))
    assert len(sent) == len(recording.turns)
    for earlier, later in pairwise(sent):
        assert later.startswith(earlier.removesuffix("])"))
    again = AgentBench(bench.root.parent)
    first = sent[0]
    await again.run(Watched(recording, pace=0))
    head = first[: first.index("<project>")]
    assert sent[len(recording.turns)].startswith(head), "another project shares the prefix"
