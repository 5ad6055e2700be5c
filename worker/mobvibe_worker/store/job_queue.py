"""The queue of jobs: one method per verb of migrations/0006_queue.sql."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from mobvibe_worker.errors import InputError, NotFound
from mobvibe_worker.events import Payload, to_data
from mobvibe_worker.jobs import (
    PROMPT_LIMIT,
    Attempt,
    Job,
    JobId,
    JobStatus,
    ProjectId,
    QueueStats,
    RevisionId,
    SessionId,
    UserId,
    WorkerId,
)
from mobvibe_worker.revisions import CheckReport, FileTree
from mobvibe_worker.store.calls import Source, once, repeatable
from mobvibe_worker.store.file_packing import pack
from mobvibe_worker.store.rows import CodingJobsRow
from mobvibe_worker.store.rowset import RowSet

JOBS = RowSet("coding_jobs", CodingJobsRow)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease that still holds, and whether the person wants the job cancelled."""

    job_id: JobId
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class FinishedWork:
    """What a green attempt leaves: files on top of `base_revision`, their report, the last events, the result."""

    files: FileTree
    base_revision: RevisionId
    report: CheckReport
    events: Sequence[Payload] = ()
    result: dict[str, Any] = field(default_factory=dict)


class JobQueue:
    """Every write of a running job carries its attempt; LeaseLost says that another one holds the job."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def enqueue(
        self,
        session_id: SessionId,
        prompt: str,
        *,
        priority: int = 0,
        recording: str | None = None,
        budget_usd: Decimal | None = None,
        idempotency_key: str | None = None,
    ) -> JobId:
        """Put a prompt into its project's line, with the person's message; the same key again is the same job.

        Raises InputError for an empty or too long prompt, NotFound for an unknown session or a deleted project.
        """
        if not prompt.strip() or len(prompt) > PROMPT_LIMIT:
            raise InputError(f"A prompt has 1 to {PROMPT_LIMIT:,} characters, not {len(prompt):,}.")
        # With a key of its own the call may be repeated when its answer is lost.
        rows = await repeatable(
            self._source,
            "select public.enqueue_job($1, $2, $3, $4, $5, $6) as id",
            session_id,
            prompt,
            priority,
            recording,
            budget_usd,
            idempotency_key or str(uuid4()),
        )
        return JobId(rows[0]["id"])

    async def claim(
        self, worker: WorkerId, slots: int, lease: timedelta, *, recordings_only: bool = False
    ) -> list[Job]:
        """Up to `slots` jobs that are now this worker's for `lease`, the most urgent first.

        `recordings_only` leaves what needs a model to other workers.
        """
        rows = await once(
            self._source,
            f"select {JOBS.columns()} from public.claim_jobs($1, $2, $3, $4)",
            worker,
            slots,
            lease,
            recordings_only,
        )
        return [_job(row) for row in JOBS.read(rows)]

    async def renew(
        self, worker: WorkerId, attempts: Sequence[Attempt], lease: timedelta
    ) -> list[Renewal]:
        """Prolong leases. An attempt that is missing from the answer is lost."""
        rows = await repeatable(
            self._source,
            "select * from public.renew_jobs($1, $2, $3, $4)",
            worker,
            [attempt.job_id for attempt in attempts],
            [attempt.number for attempt in attempts],
            lease,
        )
        return [Renewal(JobId(row["job_id"]), row["is_cancel_requested"]) for row in rows]

    async def complete(self, attempt: Attempt, work: FinishedWork) -> RevisionId:
        """Commit the files as the project's head together with the job's completion; all of it or nothing.

        A repeated call of the attempt that completed answers the same. Raises LeaseLost, HeadMoved, and
        ValueError when the report is not green.
        """
        if not work.report.is_green:
            raise ValueError("a job is completed with a green report only")
        project_id = (await self.get(attempt.job_id)).project_id
        packed = await pack(self._source, project_id, work.files)
        rows = await repeatable(
            self._source,
            "select public.complete_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) as id",
            *_fence(attempt),
            work.base_revision,
            work.report.to_data(),
            packed.paths,
            packed.hashes,
            packed.contents,
            *_columns(work.events),
            work.result,
        )
        return RevisionId(rows[0]["id"])

    async def fail(
        self, attempt: Attempt, reason: str, *, retry: bool, events: Sequence[Payload] = ()
    ) -> bool:
        """End an attempt; True when the job will be retried. `will_retry` of error events is filled in.

        Raises LeaseLost.
        """
        rows = await once(
            self._source,
            "select public.fail_attempt($1, $2, $3, $4, $5, $6, $7) as will_retry",
            *_fence(attempt),
            reason,
            retry,
            *_columns(events),
        )
        return bool(rows[0]["will_retry"])

    async def finish_cancelled(self, attempt: Attempt, events: Sequence[Payload] = ()) -> None:
        """End an attempt because the person cancelled it. Raises LeaseLost."""
        await once(
            self._source,
            "select public.cancel_attempt($1, $2, $3, $4, $5)",
            *_fence(attempt),
            *_columns(events),
        )

    async def hand_back(self, attempt: Attempt) -> None:
        """Give the job back: it waits again at once, and no attempt is counted. Raises LeaseLost."""
        await once(self._source, "select public.hand_back_attempt($1, $2, $3)", *_fence(attempt))

    async def cancel(self, job_id: JobId) -> JobStatus:
        """Cancel: a waiting job now, a running one is asked for and its worker is told. Returns its status now.

        Raises NotFound.
        """
        rows = await repeatable(self._source, "select public.cancel_job($1) as status", job_id)
        status: JobStatus = rows[0]["status"]
        return status

    async def retry(self, job_id: JobId) -> None:
        """Put a failed or cancelled job back into its line. Raises NotFound, InputError for any other status."""
        await once(self._source, "select public.retry_job($1)", job_id)

    async def reclaim(self, limit: int = 100) -> list[JobId]:
        """Take jobs back whose lease ran out; they wait again, or are dead after their last attempt."""
        rows = await repeatable(self._source, "select public.reclaim_jobs($1) as id", limit)
        return [JobId(row["id"]) for row in rows]

    async def next_due_seconds(self) -> float | None:
        """Seconds until a job falls due or a lease runs out; None when neither is in sight."""
        rows = await repeatable(self._source, "select public.next_due_seconds() as seconds")
        seconds: float | None = rows[0]["seconds"]
        return seconds

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
        rows = await JOBS.find(
            self._source, "true order by created_at desc, id desc limit $1", limit
        )
        return [_job(row) for row in rows]

    async def live_job(self, session_id: SessionId) -> JobId | None:
        """The session's running job, else the one that is next; None when nothing is left to do."""
        rows = await JOBS.find(
            self._source,
            "session_id = $1 and status in ('processing', 'pending')"
            " order by status = 'processing' desc, is_head desc, created_at, id limit 1",
            session_id,
        )
        return JobId(rows[0].id) if rows else None

    async def get(self, job_id: JobId) -> Job:
        """One job. Raises NotFound."""
        rows = await JOBS.find(self._source, "id = $1", job_id)
        if not rows:
            raise NotFound(f"There is no job {job_id}.", "`mobvibe-tui jobs` lists them.")
        return _job(rows[0])


def _fence(attempt: Attempt) -> tuple[JobId, int, WorkerId]:
    return attempt.job_id, attempt.number, attempt.worker


def _columns(events: Sequence[Payload]) -> tuple[list[str], list[dict[str, Any]]]:
    return [payload.type for payload in events], [to_data(payload) for payload in events]


def _job(row: CodingJobsRow) -> Job:
    return Job(
        id=JobId(row.id),
        session_id=SessionId(row.session_id),
        project_id=ProjectId(row.project_id),
        user_id=UserId(row.user_id),
        prompt=row.prompt,
        status=row.status,
        priority=row.priority,
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        attempt=row.attempt,
        recording=row.recording,
        budget_usd=row.budget_usd,
        cancel_requested=row.cancel_requested,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        run_at=row.run_at,
        worker=row.worker,
        error=row.error,
    )
