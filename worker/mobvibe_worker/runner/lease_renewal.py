"""Renews the leases of running jobs, and stops the attempts that are cancelled or lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import JobId, WorkerId
from mobvibe_worker.runner.running_job import RunningJob

if TYPE_CHECKING:
    from mobvibe_worker.store.claims import Claims, Renewal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseRenewal:
    """The worker decides how often; each call is one statement over all running jobs."""

    claims: Claims
    worker: WorkerId
    lease: float
    running: Mapping[JobId, RunningJob]

    async def check(self) -> None:
        """Stop the attempts that are cancelled or lost, without renewing the others."""
        held = list(self.running.values())
        if not held:
            return
        try:
            answers = await self.claims.held(self.worker, [running.attempt for running in held])
        except StoreError as error:
            log.info("the running jobs cannot be checked: %s", error)
            return
        _stop_ended(held, answers)

    async def renew(self) -> None:
        """Extend all leases. An attempt whose lease ran out because Postgres is away is lost."""
        held = list(self.running.values())
        if not held:
            return
        now = asyncio.get_running_loop().time()
        attempts, lease = [running.attempt for running in held], timedelta(seconds=self.lease)
        try:
            answers = await self.claims.renew(self.worker, attempts, lease)
        except StoreError as error:
            log.warning("leases cannot be renewed: %s", error)
            for running in held:
                if now - running.renewed_at > self.lease:
                    running.stop("lost")
            return
        for running in held:
            running.renewed_at = now
        _stop_ended(held, answers)


def _stop_ended(held: list[RunningJob], answers: list[Renewal]) -> None:
    cancelled = {answer.job_id: answer.cancel_requested for answer in answers}
    for running in held:
        if running.job.id not in cancelled:
            running.stop("lost")
        elif cancelled[running.job.id]:
            running.stop("cancelled")
