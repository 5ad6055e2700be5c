"""Counts what one worker did since it started, for its metrics and its monitor line."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from typing import Literal, get_args

Outcome = Literal["completed", "retried", "failed", "cancelled", "handed back", "lost"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)
"""Upper bounds of an attempt's duration, in seconds. One more bucket holds the longer ones."""
_LAST_EVENT: frozenset[Outcome] = frozenset({"completed", "retried", "failed", "cancelled"})


@dataclass(slots=True)
class Tally:
    """Counts that only grow."""

    claimed: int = 0
    reclaimed: int = 0
    """Jobs that this worker reclaimed from others."""
    event_rows: int = 0
    cost_usd: Decimal = Decimal(0)
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    seconds: float = 0.0
    """The sum over all attempts that ended."""
    _durations: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    @property
    def ended(self) -> int:
        return sum(self.outcomes.values())

    def end(self, outcome: Outcome, seconds: float) -> None:
        self.outcomes[outcome] += 1
        self.event_rows += outcome in _LAST_EVENT
        self.seconds += seconds
        index = next((n for n, most in enumerate(BUCKETS) if seconds <= most), len(BUCKETS))
        self._durations[index] += 1

    def spend(self, usd: Decimal | None) -> None:
        """Count what a turn cost; None if its price is unknown."""
        self.cost_usd += usd or Decimal(0)

    def durations(self) -> list[tuple[str, int]]:
        """The cumulative histogram, as pairs of an upper bound and how many attempts took no longer."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        return list(zip(bounds, accumulate(self._durations), strict=True))
