"""The agent loop runs tools only if it should, and only the checks decide that a job is done."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mobvibe_worker.agent.limits import Limits
from mobvibe_worker.errors import (
    AgentError,
    LimitReached,
    ModelRefused,
    ModelUnavailable,
    RedChecks,
)
from mobvibe_worker.events import FileChange, Message, Thinking
from support.model.agent_bench import AgentBench, calls, says, scripted, writes
from support.polling import until

OPEN = "const a = {"
CLOSED = "const a = {}"


async def test_a_job_ends_with_the_report_of_its_own_files(bench: AgentBench) -> None:
    result = await bench.run(scripted(writes("App.tsx", CLOSED), says("Done.")))
    assert result.report.is_green
    assert (result.summary, result.turns, result.tokens) == ("Done.", 2, 220)
    assert (bench.root / "App.tsx").read_text() == CLOSED
    assert bench.events == [FileChange("App.tsx", "created", 1, 0), Message("Done.", "agent")]


async def test_red_checks_go_back_to_the_model_until_it_fixes_them(bench: AgentBench) -> None:
    model = scripted(
        writes("a.ts", OPEN), says("Ready!"), writes("a.ts", CLOSED), says("Ready now.")
    )
    result = await bench.run(model)
    assert bench.checker.runs == 2
    assert "a.ts:1: a brace is not closed" in bench.sent_text()
    assert result.summary == "Ready now."
    messages = [event for event in bench.events if isinstance(event, Message)]
    assert [message.text for message in messages] == ["Ready now."], (
        "a turn with red checks is not the answer"
    )


async def test_thoughts_of_two_attempts_have_different_ids(bench: AgentBench) -> None:
    again = AgentBench(bench.root)
    for number, each in enumerate((bench, again), 1):
        each.root.joinpath("a.ts").write_text(OPEN)
        model = scripted(says("Not yet."), writes("a.ts", CLOSED), says("Done."))
        await each.run(model, attempt=number)
    first, second = (
        {event.block for event in each.events if isinstance(event, Thinking)}
        for each in (bench, again)
    )
    assert first and second and not first & second


async def test_checks_that_stay_red_end_the_job(bench: AgentBench) -> None:
    model = scripted(writes("a.ts", OPEN), *(says(f"Done {n}.") for n in range(9)))
    with pytest.raises(RedChecks, match=r"after 3 rounds.*a brace is not closed"):
        await bench.run(model)


async def test_a_recording_that_ends_while_checks_are_red_says_so(bench: AgentBench) -> None:
    with pytest.raises(AgentError, match="has ended, but the checks still fail"):
        await bench.run(scripted(writes("a.ts", OPEN), says("Done.")))


async def test_unchanged_files_are_not_checked_twice(bench: AgentBench) -> None:
    await bench.run(scripted(writes("a.ts", CLOSED), calls(("check", {})), says("Done.")))
    assert bench.checker.runs == 1
    other = AgentBench(bench.root)
    turns = calls(("check", {})), writes("b.ts", CLOSED), says("Done.")
    await other.run(scripted(*turns))
    assert other.checker.runs == 2


@pytest.mark.parametrize("stop", ["end_turn", "max_tokens"])
async def test_calls_run_only_if_the_turn_stopped_for_tools(bench: AgentBench, stop: str) -> None:
    cut = calls(("write_file", {"path": "a.ts", "content": OPEN}), stop_reason=stop)
    await bench.run(scripted(cut, says("Done.")))
    assert not (bench.root / "a.ts").exists()
    assert [result["is_error"] for result in bench.results()] == [True]


async def test_two_cut_off_turns_end_the_job(bench: AgentBench) -> None:
    with pytest.raises(LimitReached, match="cut off"):
        await bench.run(scripted(says("and", "max_tokens"), says("so", "max_tokens")))


async def test_a_conversation_that_is_too_long_is_restarted_once(bench: AgentBench) -> None:
    full = says("", "model_context_window_exceeded")
    await bench.run(scripted(writes("a.ts", CLOSED), full, says("Done.")))
    assert "fresh conversation" in bench.sent_text()
    assert bench.sent_text().count("<request>") == 2
    with pytest.raises(LimitReached, match="too long"):
        await AgentBench(bench.root).run(scripted(full, full))


async def test_a_refusal_gives_its_reason(bench: AgentBench) -> None:
    refusal = replace(says("", "refusal"), stop_detail="Not this.")
    with pytest.raises(ModelRefused, match="declined this prompt: Not this"):
        await bench.run(scripted(refusal))


async def test_a_pause_is_resent_unchanged(bench: AgentBench) -> None:
    result = await bench.run(scripted(says("one moment", "pause_turn"), says("Done.")))
    assert result.turns == 2


@pytest.mark.parametrize("stop", [None, "something_new"])
async def test_an_unknown_stop_reason_is_retried_and_then_ends_the_job(
    bench: AgentBench, stop: str | None
) -> None:
    bench.limits = Limits(tries=2, backoff_seconds=0.01)
    with pytest.raises(ModelUnavailable, match=f"stop reason {stop!r}"):
        await bench.run(scripted(says("?", stop), says("?", stop)))
    assert len(bench.ledger.reserved) == len(bench.ledger.settled) == 2


async def test_reads_run_in_parallel_and_results_keep_the_order_of_the_calls(
    bench: AgentBench,
) -> None:
    wrong: dict[str, object] = {"path": 7}
    turn = calls(
        ("list_files", {}),
        ("write_file", {"path": "a.ts", "content": CLOSED}),
        ("read_file", {"path": "a.ts"}),
        ("search_files", {"pattern": "c.nst", "is_regex": True}),
        ("fly", {}),
        ("read_file", wrong),
        ("read_file", {"path": "a.ts", "mode": "r"}),
    )
    await bench.run(scripted(turn, says("Done.")))
    texts = [result["content"] for result in bench.results()]
    assert texts[:4] == [
        "The project has no files yet.",
        "Created a.ts (+1 -0 lines).",
        CLOSED,
        f"a.ts:1: {CLOSED}",
    ]
    assert [result.get("is_error", False) for result in bench.results()[4:]] == [True] * 3
    assert texts[4].startswith("There is no such tool. There are: check, delete_file")
    assert "path: Input should be a valid string" in texts[5]
    assert "mode: Extra inputs are not permitted" in texts[6]


async def test_repeated_calls_get_one_hint_and_then_end_the_job(bench: AgentBench) -> None:
    same = [calls(("read_file", {"path": p})) for p in ("a.ts", "b.ts") * 8]
    with pytest.raises(LimitReached, match="repeated itself"):
        await bench.run(scripted(*same))
    assert bench.sent_text().count("do something different") == 1


async def test_limits_end_the_job(bench: AgentBench) -> None:
    bench.limits = Limits(turns=3)
    lists = [calls(("search_files", {"pattern": f"{n}"})) for n in range(9)]
    with pytest.raises(LimitReached, match="3 turns"):
        await bench.run(scripted(*lists))
    slow = AgentBench(bench.root, limits=Limits(seconds=0.2))
    slow.checker.delay = 30
    with pytest.raises(LimitReached, match="took longer"):
        await slow.run(scripted(says("Done.")))
    many = AgentBench(bench.root, limits=Limits(tool_calls=4))
    with pytest.raises(LimitReached, match="more than 4 tool calls"):
        await many.run(scripted(calls(*[("list_files", {})] * 50), says("Done.")))


async def test_cancelling_stops_at_once_and_keeps_what_was_written(bench: AgentBench) -> None:
    bench.checker.delay = 30
    task = asyncio.create_task(bench.run(scripted(writes("a.ts", CLOSED), says("Done."))))
    await until(lambda: bench.checker.runs > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bench.root / "a.ts").read_text() == CLOSED
    assert not [event for event in bench.events if isinstance(event, Message)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_text_before_a_call_is_progress_and_the_last_text_is_the_answer(
    bench: AgentBench,
) -> None:
    first = writes("a.ts", CLOSED)
    turn = replace(first, content=({"type": "text", "text": "First this."}, *first.content))
    await bench.run(scripted(turn, says("Done.")))
    narrated = [event for event in bench.events if isinstance(event, Thinking | Message)]
    assert [(type(event), event.text) for event in narrated] == [
        (Thinking, "First this."),
        (Message, "Done."),
    ]
