"""Reads the queue at intervals, for the headless worker's output."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import QueueStats
from mobvibe_worker.runner.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """The queue and one worker at one moment. `per_minute` counts the jobs that ended on any worker."""

    queue: QueueStats
    per_minute: float
    running_here: int
    slots: int
    ended_here: int
    is_listening: bool

    def line(self) -> str:
        stats, oldest = self.queue, self.queue.oldest_pending_seconds
        waits = "" if oldest is None else f" (oldest {oldest:.0f} s)"
        listening = "" if self.is_listening else "; gets no notifications, so it polls"
        return (
            f"queue: {stats.pending} waiting{waits}, {stats.processing} running, "
            f"{stats.completed} completed, {stats.failed} failed, {stats.cancelled} cancelled, "
            f"{self.per_minute:.1f} a minute; here {self.running_here} of {self.slots} slots, "
            f"{self.ended_here} ended{listening}"
        )

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


async def monitor(worker: Worker, seconds: float, on_reading: Callable[[Reading], None]) -> None:
    """Report a reading every `seconds`, until cancelled. While the database is away, log that instead."""
    before: tuple[float, QueueStats] | None = None
    while True:
        try:
            now = time.monotonic(), await worker.stores.queue.stats()
        except StoreError as error:
            log.warning("no queue stats: %s", error)
        else:
            if before is not None:
                on_reading(
                    _reading(worker, now[1], per_minute(before[1], now[1], now[0] - before[0]))
                )
            before = now
        await asyncio.sleep(seconds)


def per_minute(before: QueueStats, after: QueueStats, seconds: float) -> float:
    """Jobs that ended per minute. Jobs forgotten or retried meanwhile never make it negative."""
    return max(_ended(after) - _ended(before), 0) * 60 / max(seconds, 0.001)


def _reading(worker: Worker, stats: QueueStats, rate: float) -> Reading:
    return Reading(
        queue=stats,
        per_minute=round(rate, 2),
        running_here=len(worker.running),
        slots=worker.timings.concurrency,
        ended_here=worker.tally.ended,
        is_listening=worker.listener.is_connected,
    )


def _ended(stats: QueueStats) -> int:
    return stats.completed + stats.failed + stats.cancelled
