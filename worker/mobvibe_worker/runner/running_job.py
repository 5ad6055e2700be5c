"""A job under way: its attempt, its events, and why and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from mobvibe_worker.jobs import Attempt, Job
from mobvibe_worker.runner.event_buffer import EventBuffer
from mobvibe_worker.runner.tally import Outcome

WhyStopped = Literal["cancelled", "lost", "handed back"]


@dataclass(slots=True)
class RunningJob:
    """One attempt under way. Its task is cancelled once at most, so that its clean-up is not interrupted."""

    job: Job
    attempt: Attempt
    events: EventBuffer
    began: float
    """The event loop's time, in seconds."""
    renewed_at: float
    task: asyncio.Task[None] | None = None
    why_stopped: WhyStopped | None = None
    refusal: Exception | None = None
    """The error of the events that the database refused, until it is stored."""
    outcome: Outcome | None = None
    """How it ended, once that is stored."""

    def stop(self, why: WhyStopped) -> None:
        """Cancel the attempt's task. Only the first reason counts."""
        if self.why_stopped is None and self.task is not None:
            self.why_stopped = why
            if self.refusal is None:
                self.task.cancel()

    def refuse(self, error: Exception) -> None:
        """Cancel the attempt's task because its events cannot be stored. A stop outweighs it."""
        if self.why_stopped is None and self.refusal is None and self.task is not None:
            self.refusal = error
            self.task.cancel()


RunAttempt = Callable[[RunningJob], Coroutine[Any, Any, None]]
"""Does the work of one attempt and completes its job. Whatever it raises is stored as the attempt's end."""


@dataclass(frozen=True, slots=True)
class WorkerTimings:
    """A worker's intervals in seconds, how many jobs it runs at once, and which kind of jobs."""

    lease: float
    poll: float
    concurrency: int
    recordings_only: bool = False
    """Leaves jobs that need a model to other workers."""

    @property
    def beat(self) -> float:
        """Seconds between renewals and heartbeats, a quarter of a lease but at most ten."""
        return min(self.lease / 4, 10.0)
