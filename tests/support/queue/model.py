"""A model of the queue in plain Python, with the behaviour that migrations/0005 and 0006 promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
Due = tuple[int, datetime, UUID]


@dataclass(slots=True)
class ModelJob:
    """One job. `entered` orders jobs of equal priority; `run_at` passes only through `come_due`."""

    id: UUID
    session: UUID
    project: UUID
    priority: int
    entered: datetime
    key: str | None = None
    run_at: datetime | None = None
    status: Status = "pending"
    retry_count: int = 0
    max_retries: int = 3
    attempt: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    is_expired: bool = False
    is_head: bool = False

    @property
    def is_live(self) -> bool:
        """Whether the job is waiting or running."""
        return self.status in ("pending", "processing")

    @property
    def place(self) -> Due:
        """The sort key in a line: by priority, then first in, first out."""
        return (-self.priority, self.entered, self.id)


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt that was granted to a worker; it may be stale."""

    job: UUID
    number: int
    worker: str


class Refused(Exception):
    """The queue must refuse the call."""


@dataclass(slots=True)
class ModelQueue:
    """All jobs of all projects. Each method has the effect that the queue's function of that name must have."""

    jobs: dict[UUID, ModelJob] = field(default_factory=dict)
    session_status: dict[UUID, str] = field(default_factory=dict)
    deleted: set[UUID] = field(default_factory=set)
    """Projects marked as deleted, which accept and start no jobs."""

    def enter(self, job: ModelJob) -> None:
        """Add a job to its project's line."""
        self.jobs[job.id] = replace(job)
        self.session_status[job.session] = "active"
        self._settle(job.project)

    def known(self, project: UUID, key: str) -> ModelJob | None:
        """Return the project's job with this idempotency key."""
        same = (job for job in self.jobs.values() if (job.project, job.key) == (project, key))
        return next(same, None)

    def claimable(self) -> list[ModelJob]:
        """Return the jobs that can be claimed now, in order."""
        ready = (job for job in self.jobs.values() if self._is_ready(job))
        return sorted(ready, key=lambda job: job.place)

    def claim(self, worker: str, slots: int) -> list[Claim]:
        """Grant up to `slots` jobs to this worker."""
        taken = self.claimable()[:slots]
        for job in taken:
            job.status, job.worker, job.is_expired = "processing", worker, False
            job.attempt += 1
        return [Claim(job.id, job.attempt, worker) for job in taken]

    def holder(self, claim: Claim) -> ModelJob:
        """Return the job of a current claim. Raises Refused if the claim is stale."""
        job = self.jobs.get(claim.job)
        held = (job.status, job.attempt, job.worker) if job else None
        if job is None or held != ("processing", claim.number, claim.worker):
            raise Refused
        return job

    def holds(self, claim: Claim) -> bool:
        """Whether the claim is current."""
        try:
            self.holder(claim)
        except Refused:
            return False
        return True

    def renew(self, claims: list[Claim]) -> dict[UUID, bool]:
        """Renew the current ones of these claims: job id -> whether its cancellation is requested."""
        answer = {}
        for claim in claims:
            if self.holds(claim):
                job = self.jobs[claim.job]
                job.is_expired = False
                answer[job.id] = job.cancel_requested
        return answer

    def complete(self, claim: Claim) -> None:
        """End the attempt as completed."""
        self._end(self.holder(claim), "completed")

    def fail(self, claim: Claim, *, retry: bool, run_at: datetime | None) -> bool:
        """End the attempt as failed. Returns whether the job is retried at `run_at`."""
        return self._end_attempt(self.holder(claim), retry=retry, run_at=run_at)

    def finish_cancelled(self, claim: Claim) -> None:
        """End the attempt as cancelled."""
        self._end(self.holder(claim), "cancelled")

    def hand_back(self, claim: Claim) -> None:
        """Return the job to the line without counting the attempt."""
        job = self.holder(claim)
        if job.cancel_requested:
            self._end(job, "cancelled")
        else:
            self._wait_again(job, None)

    def cancel(self, job_id: UUID) -> Status:
        """Cancel a waiting job, or ask a running one to stop. Raises Refused for an unknown job."""
        job = self.find(job_id)
        if job.status == "pending":
            self._end(job, "cancelled")
        elif job.status == "processing":
            job.cancel_requested = True
        return job.status

    def retry(self, job_id: UUID) -> None:
        """Requeue a failed or cancelled job with all its attempts. Raises Refused for any other job."""
        job = self.find(job_id)
        if job.status not in ("failed", "cancelled"):
            raise Refused
        job.retry_count = 0
        self.session_status[job.session] = "active"
        self._wait_again(job, None)

    def retry_all_dead(self) -> set[UUID]:
        """Requeue every failed job, except those of deleted projects."""
        dead = [
            job.id
            for job in self.jobs.values()
            if job.status == "failed" and job.project not in self.deleted
        ]
        for job_id in dead:
            self.retry(job_id)
        return set(dead)

    def reclaim(self, worker: str | None = None) -> set[UUID]:
        """End the attempts whose lease has expired, or all attempts of a dead worker. Returns their jobs."""
        lost = [
            job
            for job in self.jobs.values()
            if job.status == "processing"
            and (job.worker == worker if worker is not None else job.is_expired)
        ]
        for job in lost:
            self._end_attempt(job, retry=True, run_at=None)
        return {job.id for job in lost}

    def change_priority(self, job_id: UUID, priority: int) -> None:
        """Set the priority of a job, as an UPDATE does."""
        job = self.find(job_id)
        job.priority = priority
        self._settle(job.project)

    def come_due(self) -> None:
        """Let every back-off and schedule pass, as of the next claim."""
        for job in self.jobs.values():
            if job.status == "pending":
                job.run_at = None
        for project in {job.project for job in self.jobs.values()}:
            self._settle(project)

    def mark_deleted(self, project: UUID) -> None:
        """Keep the project's running job running, and its waiting jobs waiting until it is restored."""
        self.deleted.add(project)
        self._settle(project)

    def restore_project(self, project: UUID) -> None:
        """Restore the project's line of jobs as it was."""
        self.deleted.remove(project)
        self._settle(project)

    def delete_project(self, project: UUID) -> None:
        """Delete the project with its sessions and jobs."""
        self.deleted.discard(project)
        for job in [job for job in self.jobs.values() if job.project == project]:
            del self.jobs[job.id]
            self.session_status.pop(job.session, None)

    def find(self, job_id: UUID) -> ModelJob:
        """Return one job. Raises Refused for an unknown job."""
        if job_id not in self.jobs:
            raise Refused
        return self.jobs[job_id]

    def counts(self) -> Counter[str]:
        """Count the jobs by status."""
        return Counter(job.status for job in self.jobs.values())

    @staticmethod
    def _is_ready(job: ModelJob) -> bool:
        return job.status == "pending" and job.is_head and job.run_at is None

    def _wait_again(self, job: ModelJob, run_at: datetime | None) -> None:
        job.status, job.worker, job.cancel_requested = "pending", None, False
        job.run_at = run_at
        self._settle(job.project)

    def _end(self, job: ModelJob, status: Status) -> None:
        job.status, job.is_head, job.run_at = status, False, None
        self._settle(job.project)
        if status == "failed" and not any(
            other.is_live for other in self.jobs.values() if other.session == job.session
        ):
            self.session_status[job.session] = "failed"

    def _end_attempt(self, job: ModelJob, *, retry: bool, run_at: datetime | None) -> bool:
        job.retry_count += 1
        if retry and not job.cancel_requested and job.retry_count < job.max_retries:
            self._wait_again(job, run_at)
            return True
        self._end(job, "cancelled" if job.cancel_requested else "failed")
        return False

    def _settle(self, project: UUID) -> None:
        """Choose the head: the running job, else the first in line, else the next scheduled job.

        A job that backs off keeps its place, because the jobs behind it build on its result.
        """
        line = [job for job in self.jobs.values() if job.project == project and job.is_live]
        running = [job for job in line if job.status == "processing"]
        waiting = [job for job in line if job.run_at is None or job.attempt > 0]
        scheduled = sorted(line, key=lambda job: (job.run_at or job.entered, *job.place))
        in_order = sorted(waiting, key=lambda job: job.place)
        may_start = [*in_order, *scheduled] if project not in self.deleted else []
        head = next(iter([*running, *may_start]), None)
        for job in line:
            job.is_head = job is head
