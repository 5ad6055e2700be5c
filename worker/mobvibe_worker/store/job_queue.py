"""The queue of jobs: one method per verb of migrations/0006_queue.sql."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

from mobvibe_worker.errors import InputError
from mobvibe_worker.events import Payload, to_data
from mobvibe_worker.jobs import (
    PROMPT_LIMIT,
    Attempt,
    JobId,
    JobStatus,
    RevisionId,
    SessionId,
    WorkerId,
)
from mobvibe_worker.revisions import CheckReport, FileTree
from mobvibe_worker.store.claims import Leases
from mobvibe_worker.store.connection.execute import Source, once, repeatable
from mobvibe_worker.store.connection.table import each, only
from mobvibe_worker.store.file_packing import pack
from mobvibe_worker.store.job_views import JobViews


@dataclass(frozen=True, slots=True)
class FinishedWork:
    """What a green attempt leaves: files on top of `base_revision`, their report, the last events, the result."""

    files: FileTree
    base_revision: RevisionId
    report: CheckReport
    events: Sequence[Payload] = ()
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A prompt on its way into the line of its session's project."""

    session_id: SessionId
    prompt: str
    priority: int = 0
    recording: str | None = None
    idempotency_key: str | None = None


class JobQueue(Leases, JobViews):
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
        _check(prompt)
        # With a key of its own the call may be repeated when its answer is lost.
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

    async def enqueue_many(self, jobs: Sequence[NewJob], *, messages: bool = True) -> list[JobId]:
        """Put many prompts into their lines in one transaction, each with the person's message; ids in that order.

        A key that its project has already is the job that has it. Raises InputError, and NotFound when a session is
        unknown or its project deleted: then none of them is kept.
        """
        for job in jobs:
            _check(job.prompt)
        run = repeatable if all(job.idempotency_key for job in jobs) else once
        has_keys = any(job.idempotency_key for job in jobs)
        rows = await run(
            self._source,
            "select array(select public.enqueue_jobs($1, $2, $3, $4, $5, $6))",
            [job.session_id for job in jobs],
            [job.prompt for job in jobs],
            [job.priority for job in jobs],
            [job.recording for job in jobs],
            [job.idempotency_key for job in jobs] if has_keys else None,
            messages,
        )
        return [JobId(found) for found in only(rows, list)]

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
            "select public.complete_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            *_fence(attempt),
            work.base_revision,
            work.report.to_data(),
            packed.paths,
            packed.hashes,
            packed.contents,
            *_columns(work.events),
            work.result,
        )
        return RevisionId(only(rows, UUID))

    async def fail(
        self, attempt: Attempt, reason: str, *, retry: bool, events: Sequence[Payload] = ()
    ) -> bool:
        """End an attempt; True when the job will be retried. `will_retry` of error events is filled in.

        Raises LeaseLost.
        """
        rows = await once(
            self._source,
            "select public.fail_attempt($1, $2, $3, $4, $5, $6, $7)",
            *_fence(attempt),
            reason,
            retry,
            *_columns(events),
        )
        return only(rows, bool)

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
        rows = await repeatable(self._source, "select public.cancel_job($1)", job_id)
        return cast(JobStatus, only(rows, str))

    async def retry(self, job_id: JobId) -> None:
        """Put a failed or cancelled job back into its line. Raises NotFound, InputError for any other status."""
        await once(self._source, "select public.retry_job($1)", job_id)

    async def retry_all_dead(self, limit: int = 1000) -> list[JobId]:
        """Put up to `limit` dead jobs back into their lines, the longest dead first. Empty: none is left."""
        rows = await once(self._source, "select public.retry_all_dead($1)", limit)
        return [JobId(found) for found in each(rows, UUID)]


def _check(prompt: str) -> None:
    if not prompt.strip() or len(prompt) > PROMPT_LIMIT:
        raise InputError(f"A prompt has 1 to {PROMPT_LIMIT:,} characters, not {len(prompt):,}.")


def _fence(attempt: Attempt) -> tuple[JobId, int, WorkerId]:
    return attempt.job_id, attempt.number, attempt.worker


def _columns(events: Sequence[Payload]) -> tuple[list[str], list[dict[str, Any]]]:
    return [payload.type for payload in events], [to_data(payload) for payload in events]
