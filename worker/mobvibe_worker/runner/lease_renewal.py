"""Keeps the leases of what runs: renews them, and stops the attempts that are cancelled or lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import Attempt, JobId, WorkerId
from mobvibe_worker.runner.running_job import RunningJob
from mobvibe_worker.store.claims import Claims, Renewal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseKeeper:
    """Looks after `running`; how often is the worker's to say."""

    claims: Claims
    worker: WorkerId
    lease: float
    running: dict[JobId, RunningJob]
    known: Callable[[], Collection[Attempt]]
    """What runs, and what has run and is still to be stored: somebody may hold its project's lock for long."""

    async def look_after(self) -> None:
        """See, without writing, which running jobs are to be cancelled or are lost."""
        held = list(self.running.values())
        if not held:
            return
        try:
            answers = await self.claims.held(self.worker, [running.attempt for running in held])
        except StoreError as error:
            log.info("the running jobs cannot be looked after: %s", error)
            return
        self._heed(held, answers)

    async def renew(self) -> None:
        """Prolong the leases of all that is known."""
        held, attempts = list(self.running.values()), list(self.known())
        if not attempts:
            return
        now = asyncio.get_running_loop().time()
        try:
            answers = await self.claims.renew(self.worker, attempts, timedelta(seconds=self.lease))
        except StoreError as error:
            log.warning("leases cannot be renewed: %s", error)
            for running in held:
                if now - running.renewed_at > self.lease:
                    running.stop("lost")
            return
        for running in held:
            running.renewed_at = now
        self._heed(held, answers)

    def _heed(self, held: list[RunningJob], answers: list[Renewal]) -> None:
        cancelled = {answer.job_id: answer.cancel_requested for answer in answers}
        for running in held:
            if running.job.id not in cancelled:
                running.stop("lost")
            elif cancelled[running.job.id]:
                running.stop("cancelled")
