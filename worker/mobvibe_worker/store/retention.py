"""Expires sessions and deletes old rows, by the functions of migrations/0009_retention.sql."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from mobvibe_worker.store.connection.sql import Source, only_or_none, repeatable

OLDEST = datetime(1, 1, 1, tzinfo=UTC)
FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Place:
    """How far the deletion of events has come, in the order of sessions."""

    expires_at: datetime = OLDEST
    session: UUID = FIRST_ID


@dataclass(frozen=True, slots=True)
class ForgottenEvents:
    """How many events one call deleted, and where the next one continues; None at the end."""

    count: int
    next: Place | None


class RetentionStore:
    """Each call handles one bounded batch, and returns None while another worker does the same work."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def expire_sessions(self, limit: int = 100) -> int | None:
        """Expire sessions that are due and have no live job. Returns how many."""
        return await self._count("select public.expire_sessions($1)", limit)

    async def forget_jobs(self, age: timedelta, limit: int = 200) -> int | None:
        """Delete jobs that ended longer than `age` ago, with their turns. Returns how many."""
        return await self._count("select public.forget_jobs(now() - $1::interval, $2)", age, limit)

    async def forget_workers(self, age: timedelta, limit: int = 1000) -> int | None:
        """Delete workers whose last heartbeat is older than `age`. Returns how many."""
        return await self._count(
            "select public.forget_workers(now() - $1::interval, $2)", age, limit
        )

    async def forget_events(
        self, age: timedelta, limit: int = 10_000, after: Place | None = None
    ) -> ForgottenEvents | None:
        """Delete events of sessions that expired longer than `age` ago. Raises Denied without ownership."""
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
