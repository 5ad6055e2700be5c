"""Runs a real worker whose jobs never end: `python worker_process.py DSN`."""

from __future__ import annotations

import asyncio
import sys

from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.stores import Stores


async def _never_ends(running: RunningJob) -> None:
    await asyncio.Event().wait()


async def main(dsn: str) -> None:
    """Work until killed. The lease is long, so its jobs move on only if its death is noticed."""
    pool = await open_pool(dsn, size=3, application_name="worker-process")
    async with Listener(dsn) as listener:
        timings = WorkerTimings(lease=120.0, poll=10.0, concurrency=4)
        await Worker(Stores(pool), listener, _never_ends, timings).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
