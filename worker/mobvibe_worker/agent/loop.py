"""The agent loop: asks the model, runs its tool calls, and ends the job only when the checks pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from mobvibe_worker.agent.check_gate import Checker, CheckGate, describe
from mobvibe_worker.agent.limits import Limits, Meter
from mobvibe_worker.agent.model import Block, Conversation, Model, Turn
from mobvibe_worker.agent.opening import (
    CUT_OFF,
    CUT_OFF_TEXT,
    NOT_RUN,
    START_OVER,
    load_system_prompt,
    opening_message,
)
from mobvibe_worker.agent.tool_calls import ToolCalls, refuse_all
from mobvibe_worker.agent.tools.catalog import tool_catalog
from mobvibe_worker.agent.tools.tool import Workbench
from mobvibe_worker.agent.turns import Ledger, TakenTurn, TurnTaker, non_empty
from mobvibe_worker.errors import LimitReached, ModelRefused, RedChecks
from mobvibe_worker.events import Message, Payload
from mobvibe_worker.revisions import CheckReport
from mobvibe_worker.sanitize import Redactor, clean_text
from mobvibe_worker.workspace.staged import StagedFolder

__all__ = ["AgentLoop", "AgentResult", "Checker", "Ledger", "Limits"]

_SUMMARY_LIMIT = 4_000
_REASON_LIMIT = 300


@dataclass(frozen=True, slots=True)
class AgentResult:
    """A finished job; its green report describes exactly the files in the staged folder."""

    report: CheckReport
    summary: str
    turns: int
    tokens: int
    cost_usd: Decimal | None
    """US dollars, exact; None if the model's price is unknown."""


class AgentLoop:
    """Works on one staged folder for one prompt. Each instance runs once."""

    def __init__(
        self,
        *,
        model: Model,
        staged: StagedFolder,
        checker: Checker,
        ledger: Ledger,
        emit: Callable[[Payload], None],
        redact: Redactor | None = None,
        sdk: int = 54,
        attempt: int = 1,
        limits: Limits | None = None,
    ) -> None:
        self._staged = staged
        self._sdk = sdk
        self._emit = emit
        self._redact = redact or Redactor(())
        self._meter = Meter(limits or Limits())
        self._gate = CheckGate(staged, checker)
        self._turns = TurnTaker(model, ledger, emit, self._redact, self._meter, attempt)
        bench = Workbench(staged, self._gate)
        self._calls = ToolCalls(tool_catalog(), bench, emit, self._redact)
        self._prompt = ""
        self._red_rounds = 0
        self._was_cut_off = False
        self._was_too_long = False

    async def run(self, prompt: str) -> AgentResult:
        """Work until the checks are green.

        Raises AgentError if that fails, and whatever the ledger and the checker raise.
        """
        self._prompt = prompt
        seconds = self._meter.limits.seconds
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await self._work()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise LimitReached(
                f"The job took longer than {seconds / 60:g} minutes.", "Ask for less in one prompt."
            ) from None

    async def _work(self) -> AgentResult:
        conversation = self._open()
        while True:
            taken = await self._turns.take(conversation)
            turn = taken.turn
            match turn.stop_reason:
                case "tool_use":
                    taken.narration.emit_text_as_thinking()
                    self._append(conversation, turn)
                    self._meter.count_tool_calls(len(turn.tool_calls))
                    conversation.add("user", await self._calls.run(turn.tool_calls))
                case "pause_turn" | "compaction":
                    self._append(conversation, turn)
                case "max_tokens":
                    self._answer_cut_off(conversation, taken)
                case "model_context_window_exceeded":
                    conversation = self._start_over(taken)
                case "refusal":
                    raise self._refusal(turn)
                case _:
                    result = await self._end(conversation, taken)
                    if result is not None:
                        return result

    def _open(self, note: str = "") -> Conversation:
        specs = tuple(tool.spec() for tool in self._calls.tools.values())
        conversation = Conversation(load_system_prompt(), specs)
        conversation.add("user", opening_message(self._prompt, self._staged, self._sdk, note))
        return conversation

    def _append(self, conversation: Conversation, turn: Turn) -> None:
        conversation.add("assistant", non_empty(turn.content))
        conversation.measure(turn.usage)

    async def _end(self, conversation: Conversation, taken: TakenTurn) -> AgentResult | None:
        turn = taken.turn
        if turn.tool_calls:
            taken.narration.emit_text_as_thinking()
            self._append(conversation, turn)
            conversation.add("user", refuse_all(turn.tool_calls, NOT_RUN))
            return None
        report = await self._gate.check()
        if report.is_green:
            return self._finish(turn, report)
        taken.narration.emit_text_as_thinking()
        self._red_rounds += 1
        if self._red_rounds > self._meter.limits.fix_rounds:
            raise self._stayed_red(report)
        self._append(conversation, turn)
        answer = f"{describe(report)}\nFix this, then end your turn again."
        conversation.add("user", [{"type": "text", "text": answer}])
        return None

    def _finish(self, turn: Turn, report: CheckReport) -> AgentResult:
        summary = self._redact(clean_text(turn.text, _SUMMARY_LIMIT)).strip()
        if summary:
            self._emit(Message(summary, author="agent"))
        meter = self._meter
        return AgentResult(report, summary, meter.turns, meter.tokens, meter.cost_usd)

    def _answer_cut_off(self, conversation: Conversation, taken: TakenTurn) -> None:
        taken.narration.emit_text_as_thinking()
        if self._was_cut_off:
            raise LimitReached(
                "Two of the model's answers were cut off at their length limit.",
                "Ask for less in one prompt.",
            )
        self._was_cut_off = True
        turn = taken.turn
        conversation.output_limit *= 2
        if all(block.get("type") in {"thinking", "redacted_thinking"} for block in turn.content):
            return
        self._append(conversation, turn)
        results: list[Block] = refuse_all(turn.tool_calls, CUT_OFF)
        conversation.add("user", results or [{"type": "text", "text": CUT_OFF_TEXT}])

    def _start_over(self, taken: TakenTurn) -> Conversation:
        taken.narration.emit_text_as_thinking()
        if self._was_too_long:
            raise LimitReached(
                "The conversation became too long for the model twice.",
                "Ask for less in one prompt.",
            )
        self._was_too_long = True
        self._turns.start_over()
        return self._open(START_OVER)

    def _refusal(self, turn: Turn) -> ModelRefused:
        reason = self._redact(clean_text(turn.stop_detail, _REASON_LIMIT)).strip()
        return ModelRefused(f"The model declined this prompt: {reason}" if reason else None)

    def _stayed_red(self, report: CheckReport) -> RedChecks:
        first = str(report.problems[0]) if report.problems else "no details"
        shown = self._redact(clean_text(first, _REASON_LIMIT))
        rounds = self._meter.limits.fix_rounds
        return RedChecks(f"The checks still fail after {rounds} rounds of fixes: {shown}")
