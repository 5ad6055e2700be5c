"""Runs a real worker in the process of the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import Pool

from mobvibe_worker.jobs import Attempt, JobId
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.runner.attempt_end import until_answered
from mobvibe_worker.runner.running_job import RunAttempt, RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.claims import Claims, FinishedWork
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.stores import Stores
from support.polling import patient, within
from support.postgres.database import GREEN

LEASE_SECONDS = 30.0


@asynccontextmanager
async def at_work(
    pool: Pool,
    listener: Listener,
    run_attempt: RunAttempt,
    *,
    slots: int = 4,
    lease: float = LEASE_SECONDS,
) -> AsyncIterator[Worker]:
    """Run a worker until the end of the block. Jobs that are still running are handed back."""
    timings = WorkerTimings(lease=lease, poll=10.0, concurrency=slots)
    worker = Worker(Stores(pool), listener, run_attempt, timings)
    async with within(60):
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task


async def until_status(pool: Pool, job: JobId, status: str, seconds: float = 20.0) -> None:
    """Return as soon as the job has this status."""
    deadline = time.monotonic() + patient(seconds)
    while (now := (await JobQueue(pool).get(job)).status) != status:
        assert time.monotonic() < deadline, f"{job} is still {now}"
        await asyncio.sleep(0.01)


class Endless:
    """Work that runs until it is stopped."""

    def __init__(self) -> None:
        self.started: list[RunningJob] = []
        self.stopped: list[tuple[JobId, str | None, float]] = []

    async def __call__(self, running: RunningJob) -> None:
        self.started.append(running)
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.append((running.job.id, running.why_stopped, time.monotonic()))


async def complete(
    stores: Stores, running: RunningJob, files: FileTree | None = None, **result: Any
) -> None:
    """Complete an attempt as a build does, with a green revision on top of the project's head."""
    attempt = running.attempt

    async def commit() -> None:
        base = await stores.revisions.commit_template(attempt, {"App.tsx": b"0"})
        work = FinishedWork(files or {"App.tsx": b"1"}, base.id, GREEN, result=result)
        await stores.claims.complete(attempt, work)

    await until_answered(commit)


async def finish(pool: Pool, attempt: Attempt) -> None:
    """Complete an attempt in the same way, without a worker."""
    base = await RevisionStore(pool).commit_template(attempt, {"App.tsx": b"0"})
    await Claims(pool).complete(attempt, FinishedWork({"App.tsx": b"1"}, base.id, GREEN))
