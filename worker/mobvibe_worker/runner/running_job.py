"""A job under way, and how often a worker does what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mobvibe_worker.jobs import Attempt, Job
from mobvibe_worker.runner.tally import Outcome

WhyStopped = Literal["cancelled", "lost", "handed back"]


@dataclass(slots=True)
class RunningJob:
    """One attempt under way. `why_stopped` is set before its task is cancelled."""

    job: Job
    attempt: Attempt
    task: asyncio.Task[None] | None = None
    why_stopped: WhyStopped | None = None
    renewed_at: float = 0.0
    began: float = 0.0
    """The event loop's time, seconds."""
    outcome: Outcome | None = None
    """What became of it, once that is stored."""

    def stop(self, why: WhyStopped) -> None:
        """Cancel the attempt's task, once, for one reason."""
        if self.why_stopped is None and self.task is not None:
            self.why_stopped = why
            self.task.cancel()


RunAttempt = Callable[[RunningJob], Awaitable[Mapping[str, Any] | None]]
"""Does the work of one attempt. It stores its outcome by itself and returns None; or it returns what is to be kept as
the job's result, and the worker completes the job, together with others that finished meanwhile."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often things happen, in seconds, how many jobs run at once, and which."""

    lease: float
    poll: float
    concurrency: int
    recordings_only: bool = False
    """Without a model, jobs that need one are left to other workers."""

    @property
    def beat(self) -> float:
        """Leases are renewed, and the worker heard of, at a quarter of their length; every ten seconds at least."""
        return min(self.lease / 4, 10.0)
