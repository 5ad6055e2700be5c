"""The headless worker's line about the queue, every now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import QueueStats
from mobvibe_worker.runner.worker import Worker

log = logging.getLogger(__name__)


async def monitor(worker: Worker, seconds: float, say: Callable[[str], None]) -> None:
    """Say how the queue is every `seconds`, until cancelled; while the database is away, that."""
    before: tuple[float, QueueStats] | None = None
    while True:
        try:
            now = time.monotonic(), await worker.queue.stats()
        except StoreError as error:
            log.warning("no queue stats: %s", error)
        else:
            if before is not None:
                rate = per_minute(before[1], now[1], now[0] - before[0])
                say(line(now[1], rate, worker))
            before = now
        await asyncio.sleep(seconds)


def per_minute(before: QueueStats, after: QueueStats, seconds: float) -> float:
    """Jobs that ended a minute, wherever they ran; what was forgotten meanwhile never makes it negative."""
    return max(_ended(after) - _ended(before), 0) * 60 / max(seconds, 0.001)


def line(stats: QueueStats, rate: float, worker: Worker) -> str:
    """The queue and this worker in one line."""
    oldest = stats.oldest_pending_seconds
    waits = "" if oldest is None else f" (oldest {oldest:.0f} s)"
    hears = "" if worker.listener.is_connected else "; hears no notifications, polls"
    return (
        f"queue: {stats.pending} waiting{waits}, {stats.processing} running, "
        f"{stats.completed} completed, {stats.failed} failed, {stats.cancelled} cancelled, "
        f"{rate:.1f} a minute; here {len(worker.running)} of {worker.rhythm.concurrency} slots, "
        f"{worker.tally.ended} ended{hears}"
    )


def _ended(stats: QueueStats) -> int:
    return stats.completed + stats.failed + stats.cancelled
