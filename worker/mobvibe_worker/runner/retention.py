"""Expires sessions, and deletes jobs, events and workers that are older than the settings keep them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from mobvibe_worker.errors import Denied, StoreError
from mobvibe_worker.store.retention import Place, RetentionStore

log = logging.getLogger(__name__)

MOST_BATCHES = 500
PAUSE_SECONDS = 0.02
"""The pause between two batches, so that other work can run."""
WORKERS_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RetentionTimings:
    """How often, in seconds, and how long things are kept; None is forever."""

    expire_every: float = 30.0
    forget_every: float = 3600.0
    events: timedelta | None = None
    jobs: timedelta | None = None
    workers: timedelta = WORKERS_KEPT


@dataclass(slots=True)
class Retention:
    """Every worker runs one. The database lets one of them work at a time; the others do nothing meanwhile."""

    store: RetentionStore
    timings: RetentionTimings
    _may_forget_events: bool = True

    async def run(self) -> None:
        """Work until cancelled. While the database is away, do nothing."""
        loop = asyncio.get_running_loop()
        forget_at = loop.time()
        while True:
            try:
                await self.expire()
                if loop.time() >= forget_at:
                    forget_at = loop.time() + self.timings.forget_every
                    await self.forget()
            except StoreError as error:
                log.warning("retention: %s", error)
            # Random, so that the workers do not run at the same moment.
            await asyncio.sleep(self.timings.expire_every * random.uniform(0.75, 1.25))

    async def expire(self) -> int:
        """Expire the sessions that are due; returns how many. Raises StoreError."""
        return await _in_batches(self.store.expire_sessions)

    async def forget(self) -> None:
        """Run one round of deletions. Raises StoreError."""
        timings = self.timings
        await _in_batches(lambda: self.store.forget_workers(timings.workers))
        if (jobs := timings.jobs) is not None:
            count = await _in_batches(lambda: self.store.forget_jobs(jobs))
            log.info("retention: %s old jobs were forgotten", count)
        if timings.events is not None and self._may_forget_events:
            try:
                log.info(
                    "retention: %s old events were forgotten",
                    await self._forget_events(timings.events),
                )
            except Denied as denied:
                self._may_forget_events = False
                log.warning(
                    "old events stay, as only the tables' owner may delete them: %s", denied
                )

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
    """Run batches until nothing is left, another worker is doing it, or this round's limit is reached."""
    total = 0
    for _ in range(MOST_BATCHES):
        count = await one_batch()
        if not count:
            return total
        total += count
        await asyncio.sleep(PAUSE_SECONDS)
    return total
