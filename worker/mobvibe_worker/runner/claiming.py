"""Claims jobs for the free slots of a worker, one claim at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from mobvibe_worker.errors import DatabaseUnreachable, StoreError
from mobvibe_worker.jobs import Attempt, Job, JobId, WorkerId
from mobvibe_worker.runner.lost_claims import LostClaims
from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings

if TYPE_CHECKING:
    from mobvibe_worker.store.claims import Claims

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
RELEASE_SECONDS = 1.0
"""The pause between two attempts to release lost claims, while there may be any."""


@dataclass(slots=True)
class Claimer:
    """Claims as many jobs as there are free slots, never more, each time that `wake` is called."""

    claims: Claims
    worker: WorkerId
    timings: WorkerTimings
    running: Mapping[JobId, RunningJob]
    on_claimed: Callable[[Job], None]
    """Starts the job: from then on it is in `running`."""
    lost: LostClaims = field(init=False)
    _may_claim: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.lost = LostClaims(self.claims, self.worker, self.timings.lease, self.running)

    def wake(self) -> None:
        """Claim again, because there may be new jobs or a free slot."""
        self._may_claim.set()

    def stop(self) -> None:
        """Make `run` return. Jobs of a claim that is under way are handed back."""
        self._stopping.set()
        self._may_claim.set()

    @property
    def free_slots(self) -> int:
        return self.timings.concurrency - len(self.running)

    async def run(self) -> None:
        while not self._stopping.is_set():
            if self.lost.are_suspected:
                await self.lost.release()
            await self._fill_slots()
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS if self.lost.are_suspected else None):
                    await self._may_claim.wait()

    async def _fill_slots(self) -> None:
        self._may_claim.clear()
        while not self._stopping.is_set() and (slots := self.free_slots) > 0:
            jobs = await self._claim(slots)
            for job in jobs:
                if self._stopping.is_set():
                    await self._hand_back(job)
                else:
                    self.on_claimed(job)
            if len(jobs) < slots:
                return

    async def _claim(self, slots: int) -> list[Job]:
        lease = timedelta(seconds=self.timings.lease)
        recordings_only = self.timings.recordings_only
        try:
            return await self.claims.claim(
                self.worker, slots, lease, recordings_only=recordings_only
            )
        except asyncio.CancelledError:
            self.lost.suspect()
            raise
        except StoreError as error:
            log.warning("no jobs can be claimed: %s", error)
            if isinstance(error, DatabaseUnreachable):
                self.lost.suspect()
        await asyncio.sleep(RECONNECT_SECONDS)
        self.wake()
        return []

    async def _hand_back(self, job: Job) -> None:
        try:
            await self.claims.hand_back(Attempt(job.id, job.attempt, self.worker))
        except asyncio.CancelledError:
            self.lost.suspect()
            raise
        except StoreError as error:
            log.warning("job %s was not handed back: %s", job.id, error)
            if isinstance(error, DatabaseUnreachable):
                self.lost.suspect()
