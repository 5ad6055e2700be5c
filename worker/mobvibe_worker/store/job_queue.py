"""What a person does with jobs through the dashboard, a command or an API: enqueue, cancel, retry, and look."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

from asyncpg import Record

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import Job, JobId, JobStatus, Prompt, QueueStats, SessionId
from mobvibe_worker.store.connection.rows import GetQueueStatsRow
from mobvibe_worker.store.connection.sql import Source, Table, each, once, only, repeatable

_COLUMNS = ", ".join(column.name for column in fields(Job))
_STATS = Table("get_queue_stats", GetQueueStatsRow)
# The same counts over the rows that the caller may see.
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


class JobQueue:
    """Jobs as a person sees them. Through a UserView it reads only what that person may see, and writes nothing."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def enqueue(
        self,
        session_id: SessionId,
        prompt: Prompt,
        *,
        priority: int = 0,
        recording: str | None = None,
        budget_usd: Decimal | None = None,
        idempotency_key: str | None = None,
    ) -> JobId:
        """Put a prompt into its project's line, with the person's message. Idempotent for one `idempotency_key`.

        Raises NotFound for an unknown session or a deleted project.
        """
        # A generated key makes the call idempotent, so that it can be repeated if its reply is lost.
        rows = await repeatable(
            self._source,
            "select public.enqueue_job($1, $2, $3, $4, $5, $6)",
            session_id,
            prompt,
            priority,
            recording,
            budget_usd,
            idempotency_key or str(uuid4()),
        )
        return JobId(only(rows, UUID))

    async def cancel(self, job_id: JobId) -> JobStatus:
        """Cancel a waiting job now, or ask the worker of a running one to stop.

        Returns the new status. Raises NotFound.
        """
        rows = await repeatable(self._source, "select public.cancel_job($1)", job_id)
        return cast(JobStatus, only(rows, str))

    async def retry(self, job_id: JobId) -> None:
        """Put a failed or cancelled job back into its line. Raises NotFound, InputError for any other status."""
        await once(self._source, "select public.retry_job($1)", job_id)

    async def retry_all_dead(self, limit: int = 1000) -> list[JobId]:
        """Retry up to `limit` dead jobs, the longest dead first. Returns an empty list if no other can be retried."""
        rows = await once(self._source, "select public.retry_all_dead($1)", limit)
        return [JobId(found) for found in each(rows, UUID)]

    async def stats(self) -> QueueStats:
        sql = f"select {_STATS.columns()} from public.get_queue_stats()"
        return _counts(await repeatable(self._source, sql))

    async def visible_stats(self) -> QueueStats:
        """The counts of the jobs that the caller may see, for a person's own view."""
        return _counts(await repeatable(self._source, _VISIBLE))

    async def finished_per_minute(self, minutes: int = 60) -> tuple[int, ...]:
        """How many jobs ended in each of the last minutes, the oldest first."""
        return tuple(only(await repeatable(self._source, _FINISHED, minutes), list))

    async def newest(self, limit: int = 50) -> list[Job]:
        return await self._find("true order by created_at desc, id desc limit $1", limit)

    async def live_job(self, session_id: SessionId) -> JobId | None:
        """The session's running job, else the one that is next; None if no job is left."""
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
        sql = f"select {_COLUMNS} from public.coding_jobs where {condition}"
        return [Job(*row) for row in await repeatable(self._source, sql, *arguments)]


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
