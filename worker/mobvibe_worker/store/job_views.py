"""Reads of the queue: single jobs, lists, and counts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from asyncpg import Record

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import Job, JobId, QueueStats, SessionId
from mobvibe_worker.store.calls import Source, repeatable

COLUMNS = tuple(each.name for each in fields(Job))
"""What a Job is read from, in the order of its fields."""


def read_job(record: Record) -> Job:
    """A record of exactly those columns."""
    return Job(*record)


class JobViews:
    """What is read without changing anything."""

    _source: Source

    async def stats(self) -> QueueStats:
        """Counts by status, and the age of the oldest job that waits."""
        rows = await repeatable(self._source, "select * from public.get_queue_stats()")
        return QueueStats(**rows[0])

    async def visible_stats(self) -> QueueStats:
        """The counts of those jobs that the caller may see: what a person's own view has."""
        rows = await repeatable(
            self._source,
            "select status, count(*) as jobs, extract(epoch from now() - min(created_at))::float8 as age"
            " from public.coding_jobs group by status",
        )
        counts = {row["status"]: row["jobs"] for row in rows}
        ages = {row["status"]: row["age"] for row in rows}
        return QueueStats(**counts, oldest_pending_seconds=ages.get("pending"))

    async def finished_per_minute(self, minutes: int = 60) -> tuple[int, ...]:
        """How many jobs ended in each of the last minutes, the oldest first."""
        rows = await repeatable(
            self._source,
            "select floor(extract(epoch from now() - completed_at) / 60)::int as age, count(*) as jobs"
            " from public.coding_jobs where completed_at > now() - make_interval(mins => $1)"
            " group by 1",
            minutes,
        )
        by_age = {row["age"]: row["jobs"] for row in rows}
        return tuple(by_age.get(age, 0) for age in reversed(range(minutes)))

    async def newest(self, limit: int = 50) -> list[Job]:
        """The newest jobs of all sessions, the newest first."""
        return await self._find("true order by created_at desc, id desc limit $1", limit)

    async def live_job(self, session_id: SessionId) -> JobId | None:
        """The session's running job, else the one that is next; None when nothing is left to do."""
        jobs = await self._find(
            "session_id = $1 and status in ('processing', 'pending')"
            " order by status = 'processing' desc, is_head desc, created_at, id limit 1",
            session_id,
        )
        return jobs[0].id if jobs else None

    async def get(self, job_id: JobId) -> Job:
        """One job. Raises NotFound."""
        jobs = await self._find("id = $1", job_id)
        if not jobs:
            raise NotFound(f"There is no job {job_id}.", "`mobvibe-tui jobs` lists them.")
        return jobs[0]

    async def _find(self, condition: str, *arguments: Any) -> list[Job]:
        sql = f"select {', '.join(COLUMNS)} from public.coding_jobs where {condition}"
        return [read_job(row) for row in await repeatable(self._source, sql, *arguments)]
