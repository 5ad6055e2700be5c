"""A secret reaches no event, record or file, however it is split into pieces."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from mobvibe_worker.agent.model import BlockEnded, TextDelta, ThinkingDelta, Turn, Usage
from mobvibe_worker.agent.narration import Narration
from mobvibe_worker.events import Payload, Thinking
from mobvibe_worker.sanitize import Redactor
from support.model.agent_bench import AgentBench, scripted, writes

CANARY = "sk-canary/pä55 + word:with@signs"
LEAD = "A thought that is long enough to be streamed before the key comes, and here it comes:"
FORMS = [CANARY, base64.b64encode(CANARY.encode()).decode(), quote(CANARY, safe="")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_secret_split_over_two_deltas_is_masked(form: str, cut: int) -> None:
    events: list[Payload] = []
    narration = Narration(events.append, Redactor([CANARY]), "1", period=0.0)
    text = f"{LEAD} {form} and more."
    place = text.index(form) + cut
    for delta in (text[:place], text[place : place + 3], text[place + 3 :]):
        narration.take(ThinkingDelta(delta))
    narration.take(BlockEnded())
    thinking = "".join(event.text for event in events if isinstance(event, Thinking))
    assert thinking == f"{LEAD} [secret] and more."
    assert len(events) > 1, "it is streamed, not only emitted at the end"


def test_control_characters_do_not_hide_a_secret() -> None:
    events: list[Payload] = []
    narration = Narration(events.append, Redactor(["canary-canary"]), "1")
    narration.take(ThinkingDelta("canary\x00-\u202ecana\x1b[31mry \x1b]52;c;AAAA\x07end"))
    narration.take(BlockEnded())
    assert [event.text for event in events if isinstance(event, Thinking)] == ["[secret] end"]


async def test_no_event_record_or_file_holds_the_secret(bench: AgentBench) -> None:
    bench.secrets = (CANARY,)
    content: tuple[dict[str, str], ...] = (
        {"type": "thinking", "thinking": f"The key is {CANARY}.", "signature": "s"},
        {"type": "text", "text": f"Done with {CANARY}"},
    )
    model = scripted(
        writes("key.ts", f"export const key = '{CANARY}';"),
        Turn(content, "end_turn", Usage(), "scripted"),
    )
    result = await bench.run(model, f"use {CANARY}")
    sinks = [repr(bench.events), repr(bench.ledger.settled), result.summary]
    sinks += [file.read_text() for file in bench.root.rglob("*") if file.is_file()]
    for form in FORMS:
        assert form not in "".join(sinks)
    assert result.summary == "Done with [secret]"
    assert bench.results()[0]["is_error"]


def test_text_is_held_back_until_it_is_known_to_be_progress() -> None:
    events: list[Payload] = []
    narration = Narration(events.append, Redactor(()), "3")
    narration.take(TextDelta("Almost"))
    narration.take(TextDelta(" there."))
    assert events == []
    narration.emit_text_as_thinking()
    assert events == [Thinking("Almost there.", block="3.1")]
