"""What a worker does beside its jobs, now and then: expires sessions, forgets what is older than was chosen."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from mobvibe_worker.errors import Denied, StoreError
from mobvibe_worker.store.retention import Place, UpkeepStore

log = logging.getLogger(__name__)

MOST_BATCHES = 500
PAUSE_SECONDS = 0.02
"""Between two batches, so that the work of others goes on."""
WORKERS_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class UpkeepRhythm:
    """How often, in seconds, and how long things are kept; None is for ever."""

    expire_every: float = 30.0
    forget_every: float = 3600.0
    events: timedelta | None = None
    jobs: timedelta | None = None
    workers: timedelta = WORKERS_KEPT


@dataclass(slots=True)
class Upkeep:
    """Every worker runs one; the database lets one of them work at a time, and the others pass by."""

    store: UpkeepStore
    rhythm: UpkeepRhythm
    _may_forget_events: bool = True

    async def run(self) -> None:
        """Go on until cancelled; while the database is away nothing is done."""
        loop = asyncio.get_running_loop()
        forget_at = loop.time()
        while True:
            try:
                await self.expire()
                if loop.time() >= forget_at:
                    forget_at = loop.time() + self.rhythm.forget_every
                    await self.forget()
            except StoreError as error:
                log.warning("upkeep: %s", error)
            # Not all workers at the same moment.
            await asyncio.sleep(self.rhythm.expire_every * random.uniform(0.75, 1.25))

    async def expire(self) -> int:
        """Close all sessions whose time is over; how many. Raises StoreError."""
        return await _in_batches(self.store.expire_sessions)

    async def forget(self) -> None:
        """One round of forgetting. Raises StoreError."""
        rhythm = self.rhythm
        await _in_batches(lambda: self.store.forget_workers(rhythm.workers))
        if (jobs := rhythm.jobs) is not None:
            count = await _in_batches(lambda: self.store.forget_jobs(jobs))
            log.info("upkeep: %s old jobs were forgotten", count)
        if rhythm.events is not None and self._may_forget_events:
            try:
                log.info(
                    "upkeep: %s old events were forgotten", await self._forget_events(rhythm.events)
                )
            except Denied as denied:
                self._may_forget_events = False
                log.warning("old events stay, only the tables' owner may forget them: %s", denied)

    async def _forget_events(self, age: timedelta) -> int:
        total, place = 0, Place()
        for _ in range(MOST_BATCHES):
            batch = await self.store.forget_events(age, after=place)
            if batch is None:
                return total
            total += batch.count
            if batch.next is None:
                return total
            place = batch.next
            await asyncio.sleep(PAUSE_SECONDS)
        return total


async def _in_batches(one_batch: Callable[[], Awaitable[int | None]]) -> int:
    """Batches until nothing is left, another worker is at it, or it is enough for this time."""
    total = 0
    for _ in range(MOST_BATCHES):
        count = await one_batch()
        if not count:
            return total
        total += count
        await asyncio.sleep(PAUSE_SECONDS)
    return total
