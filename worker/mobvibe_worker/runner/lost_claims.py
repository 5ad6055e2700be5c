"""Finds jobs that Postgres granted to this worker although the reply was lost, and releases them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobvibe_worker.errors import LeaseLost, StoreError
from mobvibe_worker.jobs import Attempt, JobId, WorkerId
from mobvibe_worker.runner.running_job import RunningJob

if TYPE_CHECKING:
    from mobvibe_worker.store.claims import Claims

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LostClaims:
    """Claims are suspected for the length of a lease, because a server finishes the statement of a client that is gone.

    A released job waits again at once, and no attempt is counted.
    """

    claims: Claims
    worker: WorkerId
    lease: float
    running: Mapping[JobId, RunningJob]
    _suspected_until: float = 0.0

    def suspect(self) -> None:
        """Note that the reply to a claim was lost. The claim may be committed already, or in a moment."""
        self._suspected_until = asyncio.get_running_loop().time() + self.lease

    @property
    def are_suspected(self) -> bool:
        return asyncio.get_running_loop().time() < self._suspected_until

    async def release(self) -> None:
        """Hand back the jobs that this worker holds but does not run. No claim may be under way meanwhile."""
        try:
            for attempt in await self.claims.held_by(self.worker):
                running = self.running.get(attempt.job_id)
                if running is None or running.attempt != attempt:
                    await self._hand_back(attempt)
        except StoreError as error:
            log.info("lost claims cannot be looked for: %s", error)

    async def _hand_back(self, attempt: Attempt) -> None:
        try:
            await self.claims.hand_back(attempt)
        except LeaseLost:  # it ended a moment ago
            return
        log.warning("job %s was claimed, but the reply was lost: it waits again", attempt.job_id)
