"""What jobs cost: reserved before each request, settled after it, summed over all attempts."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from mobvibe_worker.jobs import Attempt, JobId, UserId
from mobvibe_worker.store.connection.sql import Source, only, repeatable

_SMALLEST = Decimal("0.000001")


class TurnLedger:
    """The model's turns and their cost in US dollars, rounded up to a millionth."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def reserve(
        self,
        attempt: Attempt,
        turn: int,
        model: str,
        usd: Decimal,
        *,
        default_budget_usd: Decimal | None = None,
    ) -> None:
        """Reserve `usd` for a turn before its request. `default_budget_usd` applies if the job has no budget.

        Raises BudgetReached if the spent and reserved sum of all attempts would exceed it, LeaseLost.
        """
        await repeatable(
            self._source,
            "select public.reserve_turn($1, $2, $3, $4, $5, $6, $7)",
            attempt.job_id,
            attempt.number,
            attempt.worker,
            turn,
            model,
            _rounded(usd),
            default_budget_usd,
        )

    async def settle(
        self,
        attempt: Attempt,
        turn: int,
        record: dict[str, Any],
        usage: dict[str, Any],
        cost_usd: Decimal | None,
    ) -> None:
        """Store a turn and its cost, None if the price is unknown. This also works after the lease was lost."""
        await repeatable(
            self._source,
            "select public.settle_turn($1, $2, $3, $4, $5, $6)",
            attempt.job_id,
            attempt.number,
            turn,
            record,
            usage,
            None if cost_usd is None else _rounded(cost_usd),
        )

    async def cost_of_job(self, job_id: JobId) -> Decimal:
        return await self._sum("job_id = $1", job_id)

    async def cost_today(self, user_id: UserId) -> Decimal:
        """What a person has spent since midnight, local time."""
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return await self._sum("user_id = $1 and created_at >= $2", user_id, midnight)

    async def _sum(self, condition: str, *arguments: object) -> Decimal:
        rows = await repeatable(
            self._source,
            f"select coalesce(sum(cost_usd), 0) as usd from public.job_turns where {condition}",
            *arguments,
        )
        return only(rows, Decimal)


def _rounded(usd: Decimal) -> Decimal:
    return usd.quantize(_SMALLEST, ROUND_CEILING)
