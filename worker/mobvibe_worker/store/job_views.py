"""Reads of the queue: single jobs, lists, and counts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from asyncpg import Record

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import Job, JobId, QueueStats, SessionId
from mobvibe_worker.store.connection.execute import Source, repeatable
from mobvibe_worker.store.connection.rows import GetQueueStatsRow
from mobvibe_worker.store.connection.table import RowSet, only

COLUMNS = tuple(each.name for each in fields(Job))
"""What a Job is read from, in the order of its fields."""
_STATS = RowSet("get_queue_stats", GetQueueStatsRow)
# The same of the rows that the caller sees.
_VISIBLE = """
select count(*) filter (where status = 'pending') as pending,
       count(*) filter (where status = 'processing') as processing,
       count(*) filter (where status = 'completed') as completed,
       count(*) filter (where status = 'failed') as failed,
       count(*) filter (where status = 'cancelled') as cancelled,
       extract(epoch from now() - min(created_at) filter (where status = 'pending'))::float8
         as oldest_pending_seconds
from public.coding_jobs
"""
_FINISHED = """
select coalesce(array_agg(coalesce(ended.jobs, 0) order by minute.age desc), '{}')
from generate_series(0, $1::int - 1) as minute (age)
left join (
  select floor(extract(epoch from now() - completed_at) / 60)::int as age, count(*) as jobs
  from public.coding_jobs where completed_at > now() - make_interval(mins => $1)
  group by 1
) ended using (age)
"""


def read_job(record: Record) -> Job:
    """A record of exactly those columns."""
    return Job(*record)


class JobViews:
    """What is read without changing anything."""

    _source: Source

    async def stats(self) -> QueueStats:
        """Counts by status, and the age of the oldest job that waits."""
        sql = f"select {_STATS.columns()} from public.get_queue_stats()"
        return _counts(await repeatable(self._source, sql))

    async def visible_stats(self) -> QueueStats:
        """The counts of those jobs that the caller may see: what a person's own view has."""
        return _counts(await repeatable(self._source, _VISIBLE))

    async def finished_per_minute(self, minutes: int = 60) -> tuple[int, ...]:
        """How many jobs ended in each of the last minutes, the oldest first."""
        return tuple(only(await repeatable(self._source, _FINISHED, minutes), list))

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


def _counts(records: list[Record]) -> QueueStats:
    (row,) = _STATS.read(records)
    return QueueStats(
        pending=row.pending,
        processing=row.processing,
        completed=row.completed,
        failed=row.failed,
        cancelled=row.cancelled,
        oldest_pending_seconds=row.oldest_pending_seconds,
    )
