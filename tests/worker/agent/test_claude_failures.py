"""The failures of a model server, sent as raw bytes. An incomplete answer is never carried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mobvibe_worker.agent.claude_model import ClaudeModel, Profile
from mobvibe_worker.agent.limits import Limits
from mobvibe_worker.agent.model import Conversation, Turn
from mobvibe_worker.errors import LimitReached, ModelRefused, ModelRejected, ModelUnavailable
from mobvibe_worker.events import Message, Thinking
from support.model.agent_bench import AgentBench
from support.model.sse_server import (
    Answer,
    RawServer,
    block,
    ending,
    error_answer,
    message_start,
    raw_server,
    sse,
    text_block,
    tool_block,
)
from support.polling import until, within

GOOD = Answer(sse(message_start(), *text_block("Done."), *ending("end_turn")))
WRITE = '{"path": "a.ts", "content": "const a = {}"}'
HALF_TOOL = [message_start(), *tool_block('{"path": "a.ts", "content": "const', name="write_file")]


@pytest.fixture(autouse=True)
def _no_profile_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))


@asynccontextmanager
async def claude(
    *answers: Answer, profile: Profile | None = "claude"
) -> AsyncIterator[tuple[RawServer, ClaudeModel]]:
    """Run a model whose server gives these answers."""
    async with raw_server(answers) as server:
        model = ClaudeModel(api_key="sk-test-key", base_url=server.url, profile=profile)
        try:
            yield server, model
        finally:
            await model.close()


BROKEN = {
    "cut in mid-stream": Answer(sse(*HALF_TOOL[:2]), is_cut=True),
    "silent early end": Answer(sse(message_start(), *tool_block(WRITE, name="write_file"))),
    "empty body": Answer(b""),
    "error event after 200": Answer(
        sse(message_start(), {"type": "error", "error": {"type": "overloaded_error"}})
    ),
    "garbage line": Answer(sse(message_start(), "event: content_block_delta\ndata: {not json\n\n")),
    "tool input that is no JSON": Answer(
        sse(message_start(), *tool_block('{"path": nope]', name="write_file"), *ending("tool_use"))
    ),
    "tool input that is a list": Answer(
        sse(message_start(), *tool_block("[1, 2]"), *ending("tool_use"))
    ),
    "a captive portal's page": Answer(b"<html>Log in</html>", content_type="text/html"),
    "an unknown stop": Answer(sse(message_start(), *text_block("?"), *ending("a_new_reason"))),
    "tools without a call": Answer(sse(message_start(), *text_block("?"), *ending("tool_use"))),
    "overloaded": error_answer(529, "overloaded_error"),
    "server error": error_answer(500, "api_error"),
    "rate limit": error_answer(429, "rate_limit_error", retry_after="0"),
    "nonsense in Retry-After": error_answer(503, "api_error", retry_after="soon"),
    "negative Retry-After": error_answer(503, "api_error", retry_after="-5"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_turn_is_repeated_and_never_carried_out(
    bench: AgentBench, fault: str
) -> None:
    async with claude(BROKEN[fault], GOOD) as (server, model):
        result = await bench.run(model)
    assert result.summary == "Done."
    assert len(server.requests) == 2
    assert server.requests[0]["messages"] == server.requests[1]["messages"]
    assert list(bench.root.iterdir()) == []
    assert [turn for turn, _, _ in bench.ledger.reserved] == [1, 2]
    assert [turn for turn, _, _ in bench.ledger.settled] == [1, 2]
    assert any("Trying again in" in e.text for e in bench.events if isinstance(e, Thinking))


async def test_a_server_that_stays_broken_ends_the_attempt(bench: AgentBench) -> None:
    async with claude(error_answer(529, "overloaded_error", retry_after="0")) as (server, model):
        with pytest.raises(ModelUnavailable, match="overloaded") as raised:
            await bench.run(model)
    assert raised.value.is_worth_retrying
    assert len(server.requests) == 3


async def test_an_unreachable_server_is_worth_another_attempt(bench: AgentBench) -> None:
    bench.limits = Limits(tries=1)
    async with claude(GOOD) as (_, model):
        pass
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        await bench.run(model)


REJECTIONS = [
    (error_answer(401, "authentication_error"), "did not accept the key"),
    (error_answer(403, "permission_error"), "did not accept the key"),
    (error_answer(402, "billing_error"), "no credit left"),
    (error_answer(404, "not_found_error"), "does not know claude-sonnet-5-5"),
    (error_answer(400, "invalid_request_error", "too \x1b[31mmany"), "the request: too many"),
    (error_answer(413, "request_too_large", "too large"), "the request: too large"),
]


@pytest.mark.parametrize(("answer", "sentence"), REJECTIONS, ids=lambda one: str(one)[:30])
async def test_a_rejection_is_not_repeated_and_says_what_to_do(
    bench: AgentBench, answer: Answer, sentence: str
) -> None:
    async with claude(answer) as (server, model):
        with pytest.raises(ModelRejected, match=sentence) as raised:
            await bench.run(model)
    assert raised.value.remedy
    assert len(server.requests) == 1


async def test_a_long_retry_after_ends_the_attempt_at_once(bench: AgentBench) -> None:
    async with (
        claude(error_answer(429, "rate_limit_error", retry_after="3600")) as (_, model),
        within(5),
    ):
        with pytest.raises(ModelUnavailable, match="wait 3600 s"):
            await bench.run(model)


async def test_a_call_cut_off_by_the_length_limit_is_not_carried_out(bench: AgentBench) -> None:
    cut = Answer(sse(*HALF_TOOL, *ending("max_tokens")))
    async with claude(cut, GOOD) as (server, model):
        await bench.run(model)
    assert list(bench.root.iterdir()) == []
    assert server.requests[1]["max_tokens"] == 2 * server.requests[0]["max_tokens"]
    answer = server.requests[1]["messages"][-1]["content"][0]
    assert answer["is_error"] and "cut off" in answer["content"]
    async with claude(cut) as (_, model):
        with pytest.raises(LimitReached, match="cut off"):
            await AgentBench(bench.root).run(model)


async def test_a_refusal_in_the_middle_of_an_answer_gives_its_reason(bench: AgentBench) -> None:
    refusal = ending("refusal")
    refusal[0]["delta"]["stop_details"] = {"type": "refusal", "explanation": "Not this one."}
    async with claude(Answer(sse(message_start(), *refusal))) as (_, model):
        with pytest.raises(ModelRefused, match="Not this one"):
            await bench.run(model)


async def test_unknown_parts_of_the_stream_are_ignored(bench: AgentBench) -> None:
    odd: dict[str, Any] = {"type": "a_new_event", "value": 1}
    answer = Answer(
        sse(message_start(), odd, {"type": "ping"}, *text_block("Done."), *ending("end_turn"))
    )
    async with claude(answer) as (_, model):
        assert (await bench.run(model)).summary == "Done."


async def test_cost_includes_cache_reads_and_writes_exactly(bench: AgentBench) -> None:
    cached = {
        "cache_read_input_tokens": 10_000,
        "cache_creation_input_tokens": 3_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
    }
    thought = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "I look first."},
        {"type": "signature_delta", "signature": "sig"},
    )
    events = [*thought, *tool_block("{}", 1), *ending("tool_use", output_tokens=700)]
    first = Answer(sse(message_start(**cached), *events))
    async with claude(first, GOOD) as (server, model):
        result = await bench.run(model)
    # 25 x 2 + 700 x 10 + 10000 x 0.10 + 1000 x 2.50 + 2000 x 4, then 25 x 2 + 5 x 10, per million
    assert result.cost_usd == Decimal("0.01865")
    assert result.tokens == 25 + 700 + 13_000 + 30
    kept = server.requests[1]["messages"][1]["content"]
    assert kept[0] == {"type": "thinking", "thinking": "I look first.", "signature": "sig"}
    assert [e.text for e in bench.events if isinstance(e, Thinking)] == ["I look first."]
    assert [event for event in bench.events if isinstance(event, Message)] == [Message("Done.")]
    for (_, _, worst), (_, _, cost) in zip(
        bench.ledger.reserved, bench.ledger.settled, strict=True
    ):
        assert worst is not None and cost is not None and worst > cost


async def test_requests_ask_for_thinking_and_keep_a_stable_prefix(bench: AgentBench) -> None:
    tool = Answer(sse(message_start(), *tool_block("{}"), *ending("tool_use")))
    async with claude(tool, tool, GOOD) as (server, model):
        await bench.run(model)
    first, second, third = server.requests
    assert first["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert first["output_config"] == {"effort": "medium"}
    assert first["cache_control"] == {"type": "ephemeral"}
    assert "temperature" not in first and first["stream"] is True
    for earlier, later in ((first, second), (second, third)):
        for part in ("system", "tools"):
            assert json.dumps(earlier[part]) == json.dumps(later[part])
        length = len(earlier["messages"])
        assert json.dumps(later["messages"][:length]) == json.dumps(earlier["messages"])
    assert [tool["name"] for tool in first["tools"]] == sorted(t["name"] for t in first["tools"])
    assert all(set(tool) == {"name", "description", "input_schema"} for tool in first["tools"])


async def test_a_server_that_does_not_know_thinking_is_asked_again_without_it(
    bench: AgentBench,
) -> None:
    refusal = error_answer(400, "invalid_request_error", "model does not support thinking")
    async with claude(refusal, GOOD, profile=None) as (server, model):
        assert (await bench.run(model)).summary == "Done."
        extras = {"thinking", "output_config", "cache_control"}
        assert extras <= set(server.requests[0])
        assert not extras & set(server.requests[1])
        assert isinstance(server.requests[1]["system"], str)
        await AgentBench(bench.root).run(model)
        assert len(server.requests) == 3, "later requests leave it out"


async def test_the_given_key_is_used_and_the_environment_ignored(
    bench: AgentBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-the-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    async with claude(GOOD) as (server, model):
        await bench.run(model)
    assert "Bearer sk-test-key" in server.headers[0]
    assert "from-the-environment" not in server.headers[0]
    with pytest.raises(ModelRejected, match="no key"):
        ClaudeModel(api_key=None)


async def test_cancelling_during_a_stream_closes_the_connection(bench: AgentBench) -> None:
    stalling = Answer(sse(message_start(), *text_block("I am about to")), stalls=True)
    async with claude(stalling) as (server, model):
        task = asyncio.create_task(bench.run(model))
        await until(lambda: bool(server.requests))
        await asyncio.sleep(0)
        task.cancel()
        async with within(1):
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_the_stream_ends_with_exactly_one_turn() -> None:
    async with claude(GOOD) as (_, model):
        conversation = Conversation("system", ())
        conversation.add("user", [{"type": "text", "text": "hello"}])
        steps = [step async for step in model.turn(conversation)]
    assert [isinstance(step, Turn) for step in steps].count(True) == 1
    assert isinstance(steps[-1], Turn)
