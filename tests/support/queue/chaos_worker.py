"""A worker process for chaos runs, whose jobs only report their start and end.

CHAOS_DSN=... python -m support.queue.chaos_worker NAME
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from asyncpg import Pool

from mobvibe_worker.errors import DatabaseUnreachable
from mobvibe_worker.events import Terminal
from mobvibe_worker.jobs import WorkerId
from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.stores import Stores
from support.working import complete

LEASE_SECONDS = 3.0
SLOTS = 4
LONGEST_SECONDS = 0.4
LONG_PROMPT = "long"


async def main(name: str) -> None:
    """Work until killed."""
    dsn = os.environ["CHAOS_DSN"]
    stores = Stores(await _opened(dsn))

    async def build(running: RunningJob) -> None:
        log, job = stores.events, running.job
        for word in ("start", "end"):
            report = [Terminal(f"{word} {job.id} {running.attempt.number}")]
            await log.append(job.session_id, report, attempt=running.attempt)
            if word == "start":
                is_long = job.prompt == LONG_PROMPT
                await asyncio.sleep(60 if is_long else random.uniform(0, LONGEST_SECONDS))
        await complete(stores, running, by=name)

    async with Listener(dsn) as listener:
        timings = WorkerTimings(lease=LEASE_SECONDS, poll=2.0, concurrency=SLOTS)
        worker = Worker(stores, listener, build, timings, id=WorkerId(name))
        print("ready", flush=True)
        await worker.run()


async def _opened(dsn: str) -> Pool:
    while True:
        try:
            return await open_pool(dsn, size=6, application_name="mobvibe-worker")
        except DatabaseUnreachable:
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
