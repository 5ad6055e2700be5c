"""The agent loop's ledger. Reserves and settles the money of one attempt in Postgres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mobvibe_worker.jobs import Attempt
from mobvibe_worker.store.turns import TurnLedger


@dataclass(frozen=True, slots=True)
class AttemptLedger:
    """Binds the store's turns to one attempt."""

    turns: TurnLedger
    attempt: Attempt
    default_budget_usd: Decimal
    """The budget of a job that has none of its own."""
    on_spent: Callable[[Decimal | None], None]
    """Receives what each settled turn cost."""

    async def reserve(self, turn: int, model: str, usd: Decimal | None) -> None:
        """Reserve `usd` before a request. Raises BudgetReached or LeaseLost."""
        await self.turns.reserve(
            self.attempt,
            turn,
            model,
            usd or Decimal(0),
            default_budget_usd=self.default_budget_usd,
        )

    async def settle(
        self,
        turn: int,
        record: dict[str, Any],
        usage: dict[str, Any],
        cost_usd: Decimal | None,
    ) -> None:
        await self.turns.settle(self.attempt, turn, record, usage, cost_usd)
        self.on_spent(cost_usd)
