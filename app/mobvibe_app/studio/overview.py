"""Reads the queue, the sessions and today's spend, again whenever something happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from mobvibe_app.studio.changes import OverviewChanged
from mobvibe_worker.jobs import UserId
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.stores import Stores

MOST_SESSIONS = 50
LEAST_PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Overview:
    """What the panels beside the stream show."""

    stores: Stores
    listener: Listener
    owner: UserId
    poll_seconds: float = 5.0
    is_own: bool = True
    """False for another person's view, which may see neither the workers nor the whole queue's counts."""

    async def read(self) -> OverviewChanged:
        """Raises StoreError."""
        stats = await (
            self.stores.queue.stats() if self.is_own else self.stores.queue.visible_stats()
        )
        sessions = await self.stores.sessions.summaries(self.owner, MOST_SESSIONS)
        cost = await self.stores.turns.cost_today(self.owner)
        finished = await self.stores.queue.finished_per_minute()
        workers = await self.stores.workers.summaries() if self.is_own else []
        return OverviewChanged(stats, tuple(sessions), cost, finished, tuple(workers))

    async def watch(self, on_change: Callable[[OverviewChanged], None]) -> None:
        """Report the overview now and whenever it changed. It is read after each notice, or after `poll_seconds`.

        Runs until cancelled. Raises StoreError if the database is lost.
        """
        happened = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for channel in ("new_job", "job_status_changed", "worker_changed"):
                group.create_task(self._listen(channel, happened))
            last: OverviewChanged | None = None
            while True:
                happened.clear()
                current = await self.read()
                if current != last:
                    on_change(current)
                    last = current
                await asyncio.sleep(LEAST_PAUSE_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.poll_seconds):
                        await happened.wait()

    async def _listen(self, channel: str, happened: asyncio.Event) -> None:
        async for _ in self.listener.subscribe(channel):
            happened.set()
