"""The limits of one attempt, and the meter that enforces them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic

from mobvibe_worker.agent.model import Usage
from mobvibe_worker.errors import LimitReached


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one attempt."""

    turns: int = 60
    """Requests to the model, including broken ones."""
    seconds: float = 20 * 60
    """Wall-clock time, including checks."""
    tool_calls: int = 400
    fix_rounds: int = 3
    """How often a failed check report is returned to the model."""
    tries: int = 3
    """Requests for one turn if its answer breaks off."""
    backoff_seconds: float = 1.0
    """The first wait between them; each further wait is twice as long."""
    wait_seconds: float = 120.0
    """The longest Retry-After that is honoured."""


@dataclass(slots=True)
class Meter:
    """What one attempt has used so far."""

    limits: Limits
    turns: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    started: float = field(default_factory=monotonic)

    @property
    def seconds_left(self) -> float:
        return self.limits.seconds - (monotonic() - self.started)

    def count_request(self) -> int:
        """Count a request and return its number, from 1. Raises LimitReached."""
        if self.turns >= self.limits.turns:
            raise LimitReached(
                f"The agent did not finish within {self.limits.turns} turns.",
                "Ask for less in one prompt.",
            )
        self.turns += 1
        return self.turns

    def count_tool_calls(self, calls: int) -> None:
        """Raises LimitReached if the total exceeds the limit."""
        self.tool_calls += calls
        if self.tool_calls > self.limits.tool_calls:
            raise LimitReached(
                f"The agent made more than {self.limits.tool_calls} tool calls.",
                "Ask for less in one prompt.",
            )

    def add(self, usage: Usage, cost_usd: Decimal | None) -> None:
        """Add one turn's tokens and cost; a single unknown cost makes the total unknown."""
        self.tokens += usage.total_tokens
        both_known = self.cost_usd is not None and cost_usd is not None
        self.cost_usd = self.cost_usd + cost_usd if both_known else None  # type: ignore[operator]
