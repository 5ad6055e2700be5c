"""Jobs, and the values that sum up the queue, its workers and its sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NewType, Self
from uuid import UUID

from mobvibe_worker.errors import InputError
from mobvibe_worker.sanitize import clean_text

UserId = NewType("UserId", UUID)
ProjectId = NewType("ProjectId", UUID)
SessionId = NewType("SessionId", UUID)
JobId = NewType("JobId", UUID)
RevisionId = NewType("RevisionId", UUID)
WorkerId = NewType("WorkerId", str)

JobStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]
SessionStatus = Literal["pending", "active", "paused", "completed", "failed", "expired"]
Platform = Literal["web", "mobile"]
Provider = Literal["docker", "process"]
"""What runs previews. The table also accepts "railway", which no code writes."""

# The local owner of a home: a seeded auth.users row (migrations), tier `local`.
LOCAL_OWNER = UserId(UUID("00000000-0000-4000-8000-000000000001"))

PROMPT_LIMIT = 20_000
"""The longest prompt, in characters."""


class Prompt(str):
    """What a person asks for, as it is stored: without control characters, not empty, not too long."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises InputError if the text is empty or too long."""
        prompt = clean_text(text).strip()
        if not prompt:
            raise InputError("The prompt is empty.", "Describe the app, or a change to it.")
        if len(prompt) > PROMPT_LIMIT:
            raise InputError(
                f"The prompt has {len(prompt):,} characters, the limit is {PROMPT_LIMIT:,}.",
                "Shorten it: a few sentences work best.",
            )
        return super().__new__(cls, prompt)


@dataclass(frozen=True, slots=True)
class Job:
    """One row of coding_jobs: a prompt and its state."""

    id: JobId
    session_id: SessionId
    project_id: ProjectId
    user_id: UserId
    prompt: str
    status: JobStatus
    priority: int
    retry_count: int
    max_retries: int
    attempt: int
    recording: str | None
    """The recording that replaces the model, or None for the real model."""
    budget_usd: Decimal | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    run_at: datetime | None
    worker: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim of a job. Every write of a running job must carry it."""

    job_id: JobId
    number: int
    worker: WorkerId


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts by status, and the age of the oldest pending job in seconds."""

    pending: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    oldest_pending_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WorkLine:
    """A job that a worker runs now."""

    job_id: JobId
    project: str
    attempt: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerSummary:
    """A worker that is alive or was lost recently, with the jobs it runs."""

    id: WorkerId
    host: str
    pid: int
    version: str
    slots: int
    started_at: datetime
    last_heartbeat_at: datetime
    is_lost: bool
    work: tuple[WorkLine, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session with its newest job. `project` is the project's slug, `title` its name."""

    id: SessionId
    project: str
    title: str
    sdk: int
    job_id: JobId | None
    job_status: JobStatus | None
    attempt: int
    """The attempt of the newest job, 0 before the first claim."""
    activity_at: datetime
