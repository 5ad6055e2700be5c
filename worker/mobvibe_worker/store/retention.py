"""What time does to the tables: one method per function of migrations/0009_upkeep.sql."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from mobvibe_worker.store.connection.execute import Source, repeatable
from mobvibe_worker.store.connection.table import only_or_none

OLDEST = datetime(1, 1, 1, tzinfo=UTC)
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Place:
    """How far the forgetting of events has come in the order of sessions."""

    expires_at: datetime = OLDEST
    session: UUID = NOBODY


@dataclass(frozen=True, slots=True)
class ForgottenEvents:
    """Events that one call deleted, and where the next call goes on; None at the end."""

    count: int
    next: Place | None


class UpkeepStore:
    """One bounded batch a call. Every method returns None while another worker is at it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def expire_sessions(self, limit: int = 100) -> int | None:
        """Close sessions whose time is over and that have no live job; how many."""
        return await self._count("select public.expire_sessions($1)", limit)

    async def forget_jobs(self, age: timedelta, limit: int = 200) -> int | None:
        """Delete jobs that ended longer than `age` ago, with their turns; how many."""
        return await self._count("select public.forget_jobs(now() - $1::interval, $2)", age, limit)

    async def forget_workers(self, age: timedelta, limit: int = 1000) -> int | None:
        """Delete workers that nobody heard of for `age`; how many."""
        return await self._count(
            "select public.forget_workers(now() - $1::interval, $2)", age, limit
        )

    async def forget_events(
        self, age: timedelta, limit: int = 10_000, after: Place | None = None
    ) -> ForgottenEvents | None:
        """Delete events of sessions that expired longer than `age` ago. Raises Denied for who owns no table."""
        start = after or Place()
        ((count, reached, session),) = await repeatable(
            self._source,
            "select forgotten, reached, reached_session"
            " from private.forget_events(now() - $1::interval, $2, $3, $4)",
            age,
            limit,
            start.expires_at,
            start.session,
        )
        if count is None:
            return None
        return ForgottenEvents(count, None if reached is None else Place(reached, session))

    async def _count(self, sql: str, *arguments: object) -> int | None:
        return only_or_none(await repeatable(self._source, sql, *arguments), int)
