"""What a worker does with jobs: claim, renew, complete, fail, hand back, and reclaim what other workers lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

from mobvibe_worker.events import Payload, to_data
from mobvibe_worker.jobs import Attempt, Job, JobId, RevisionId, WorkerId
from mobvibe_worker.revisions import CheckReport, FileTree
from mobvibe_worker.store.connection.rows import HeldJobsRow, RenewJobsRow
from mobvibe_worker.store.connection.sql import (
    Source,
    Table,
    each,
    once,
    only,
    only_or_none,
    repeatable,
)
from mobvibe_worker.store.revisions import pack, project_of

_COLUMNS = ", ".join(column.name for column in fields(Job))
_RENEWED = Table("renew_jobs", RenewJobsRow, key="job_id")
_HELD = Table("held_jobs", HeldJobsRow, key="job_id")


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


class Claims:
    """One method for each verb of a worker. A write that carries an attempt which lost its lease raises LeaseLost."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def claim(
        self, worker: WorkerId, slots: int, lease: timedelta, *, recordings_only: bool = False
    ) -> list[Job]:
        """Claim up to `slots` jobs for the length of a lease; returns them, the most urgent first.

        `recordings_only` leaves jobs that need a model to other workers.
        """
        rows = await once(
            self._source,
            f"select {_COLUMNS} from public.claim_jobs($1, $2, $3, $4)",
            worker,
            slots,
            lease,
            recordings_only,
        )
        return [Job(*row) for row in rows]

    async def renew(
        self, worker: WorkerId, attempts: Sequence[Attempt], lease: timedelta
    ) -> list[Renewal]:
        """Extend leases. An attempt that is missing from the answer is lost."""
        rows = await repeatable(
            self._source,
            f"select {_RENEWED.columns()} from public.renew_jobs($1, $2, $3, $4)",
            worker,
            *_pairs(attempts),
            lease,
        )
        return [Renewal(JobId(row.job_id), row.is_cancel_requested) for row in _RENEWED.read(rows)]

    async def held(self, worker: WorkerId, attempts: Sequence[Attempt]) -> list[Renewal]:
        """Read which attempts still hold their job, without renewing them. An attempt that is missing is lost."""
        rows = await repeatable(
            self._source,
            f"select {_HELD.columns()} from public.held_jobs($1, $2, $3)",
            worker,
            *_pairs(attempts),
        )
        return [Renewal(JobId(row.job_id), row.is_cancel_requested) for row in _HELD.read(rows)]

    async def held_by(self, worker: WorkerId) -> list[Attempt]:
        rows = await repeatable(
            self._source,
            "select j.id, j.attempt from public.coding_jobs j"
            " where j.status = 'processing' and j.worker = $1",
            worker,
        )
        return [Attempt(JobId(row[0]), row[1], worker) for row in rows]

    async def complete(self, attempt: Attempt, work: FinishedWork) -> RevisionId:
        """Commit the files as the project's head together with the job's completion; all of it or nothing.

        Idempotent for the attempt that completed the job. Raises LeaseLost, HeadMoved, and
        ValueError when the report is not green.
        """
        if not work.report.is_green:
            raise ValueError("a job is completed with a green report only")
        project_id = await project_of(self._source, attempt.job_id)
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
        """End an attempt; True if the job will be retried. Fills in `will_retry` of error events. Raises LeaseLost."""
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

    async def reclaim(self, limit: int = 100) -> list[JobId]:
        """Reclaim jobs whose lease ran out. They wait again, or are dead after their last attempt."""
        rows = await repeatable(self._source, "select public.reclaim_jobs($1)", limit)
        return [JobId(found) for found in each(rows, UUID)]

    async def next_due_seconds(self) -> float | None:
        """Seconds until a job becomes due or a lease runs out; None if neither is expected."""
        rows = await repeatable(self._source, "select public.next_due_seconds()")
        return only_or_none(rows, float)

    async def reclaim_worker(self, worker: WorkerId, machine_key: str) -> list[JobId]:
        """End the leases of a worker whose process was seen dead on its own machine, and only then."""
        rows = await repeatable(
            self._source, "select public.reclaim_worker($1, $2)", worker, machine_key
        )
        return [JobId(found) for found in each(rows, UUID)]


def _pairs(attempts: Sequence[Attempt]) -> tuple[list[JobId], list[int]]:
    return [attempt.job_id for attempt in attempts], [attempt.number for attempt in attempts]


def _fence(attempt: Attempt) -> tuple[JobId, int, WorkerId]:
    return attempt.job_id, attempt.number, attempt.worker


def _columns(events: Sequence[Payload]) -> tuple[list[str], list[dict[str, Any]]]:
    return [payload.type for payload in events], [to_data(payload) for payload in events]
