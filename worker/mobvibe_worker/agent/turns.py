"""Takes one turn of the model: reserves its highest cost, streams it, settles it, and retries it if it breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from mobvibe_worker.agent.limits import Meter
from mobvibe_worker.agent.model import (
    Block,
    BrokenTurn,
    Conversation,
    Model,
    Turn,
    Usage,
)
from mobvibe_worker.agent.narration import Narration
from mobvibe_worker.errors import ModelUnavailable
from mobvibe_worker.events import Payload, Thinking
from mobvibe_worker.sanitize import Redactor

KNOWN_STOPS = frozenset(
    {
        "tool_use",
        "end_turn",
        "stop_sequence",
        "pause_turn",
        "compaction",
        "max_tokens",
        "model_context_window_exceeded",
        "refusal",
    }
)


class Ledger(Protocol):
    """Accounts for the cost of one attempt; implemented over Postgres by the runner."""

    async def reserve(self, turn: int, model: str, usd: Decimal | None) -> None:
        """Reserve the cost of a request before it is sent. Raises BudgetReached or LeaseLost."""

    async def settle(
        self,
        turn: int,
        record: dict[str, Any],
        usage: dict[str, Any],
        cost_usd: Decimal | None,
    ) -> None: ...


@dataclass(slots=True)
class TakenTurn:
    """A complete turn, and the narration that still holds its text."""

    turn: Turn
    narration: Narration


@dataclass(slots=True)
class TurnTaker:
    """Takes turns within the attempt's limits and budget."""

    model: Model
    ledger: Ledger
    emit: Callable[[Payload], None]
    redact: Redactor
    meter: Meter
    attempt: int = 1
    """Part of every block's name, so that blocks of different attempts differ."""
    _sent: int = field(default=0)

    async def take(self, conversation: Conversation) -> TakenTurn:
        """Return one complete turn with a known stop reason. Raises ModelUnavailable if every try breaks off."""
        limits = self.meter.limits
        for attempt in range(1, limits.tries + 1):
            number = self.meter.count_request()
            worst = self.model.worst_case(conversation)
            await self.ledger.reserve(number, self.model.name, worst)
            try:
                taken = await self._stream(number, conversation)
            except BrokenTurn as broken:
                cost = worst if broken.has_begun else Decimal(0)
                await self._settle_broken(number, broken, cost)
                if attempt == limits.tries:
                    raise
                await self._wait(broken, attempt)
            else:
                await self._settle(number, conversation, taken.turn)
                return taken
        raise AssertionError("unreachable")

    async def _stream(self, number: int, conversation: Conversation) -> TakenTurn:
        narration = Narration(self.emit, self.redact, f"{self.attempt}.{number}")
        turn: Turn | None = None
        async with aclosing(self.model.turn(conversation)) as steps:
            async for step in steps:
                narration.take(step)
                if isinstance(step, Turn):
                    turn = step
        if turn is None or not _is_usable(turn):
            stop = None if turn is None else turn.stop_reason
            raise BrokenTurn(
                f"The model's answer ended with an unknown stop reason {stop!r}.",
                has_begun=turn is not None,
            )
        return TakenTurn(turn, narration)

    async def _settle(self, number: int, conversation: Conversation, turn: Turn) -> None:
        cost = self.model.price_of(turn.usage)
        self.meter.add(turn.usage, cost)
        fresh = conversation.messages[self._sent :]
        sent = [message for message in fresh if message["role"] == "user"]
        self._sent = len(conversation.messages)
        record = {
            "sent": sent,
            "content": list(turn.content),
            "stop_reason": turn.stop_reason,
            "model": turn.model,
        }
        masked = self._masked(record)
        await self.ledger.settle(number, masked, turn.usage.to_data(), cost)

    async def _settle_broken(self, number: int, broken: BrokenTurn, cost: Decimal | None) -> None:
        """Settle a broken answer at its worst case: it is billed, but its usage is not reported."""
        self.meter.add(Usage(), cost)
        record = self._masked({"broken": broken.message, "is_upper_bound": broken.has_begun})
        await self.ledger.settle(number, record, Usage().to_data(), cost)

    async def _wait(self, broken: BrokenTurn, attempt: int) -> None:
        backoff = self.meter.limits.backoff_seconds * 2 ** (attempt - 1)
        seconds = backoff if broken.retry_after is None else max(broken.retry_after, 0.0)
        if seconds > min(self.meter.limits.wait_seconds, self.meter.seconds_left):
            raise ModelUnavailable(
                f"The model's server asks to wait {seconds:.0f} s, longer than this job may take.",
                "Try again later.",
            )
        self.emit(Thinking(f"{self.redact(broken.message)} Trying again in {seconds:.0f} s.\n"))
        await asyncio.sleep(seconds)

    def _masked(self, record: dict[str, Any]) -> dict[str, Any]:
        masked = _mask(record, self.redact)
        assert isinstance(masked, dict)
        return masked

    def start_over(self) -> None:
        """Record the next turn as the first one of a new conversation."""
        self._sent = 0


def _is_usable(turn: Turn) -> bool:
    if turn.stop_reason == "tool_use":
        calls = turn.tool_calls
        return bool(calls) and all(isinstance(call.get("input"), dict) for call in calls)
    return turn.stop_reason in KNOWN_STOPS


def _mask(value: object, redact: Redactor) -> object:
    match value:
        case str():
            # Postgres' JSON accepts neither NUL nor lone surrogates.
            plain = value.replace("\x00", "").encode("utf-8", "replace").decode()
            return redact(plain)
        case dict():
            return {str(key): _mask(inner, redact) for key, inner in value.items()}
        case list() | tuple():
            return [_mask(inner, redact) for inner in value]
        case _:
            return value


def non_empty(content: tuple[Block, ...]) -> list[Block]:
    """The content with a placeholder if it is empty, as the server rejects empty messages."""
    return list(content) or [{"type": "text", "text": "(nothing was said)"}]
