"""Measures how soon a killed worker's job runs again and a cancelled job stops, and checks both against limits."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from asyncpg import Pool

from mobvibe_worker.jobs import JobId, Prompt, SessionId
from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.stores import Stores
from support.polling import within
from support.postgres.clusters import OwnCluster, running
from support.postgres.database import new_session
from support.queue.chaos import Workers
from support.queue.chaos_worker import LONG_PROMPT

ROUNDS = 20
_STARTS = "select data ->> 'command' from public.session_events where session_id = $1 and event_type = 'terminal'"

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest_asyncio.fixture
async def url(programs: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a migrated database on a new, durable server."""
    async with running(OwnCluster(programs, tmp_path / "cluster")) as cluster:
        await cluster.run_sql("create database chaos")
        await MigrationRunner(cluster.url("chaos")).migrate()
        yield cluster.url("chaos")


async def _until_started(pool: Pool, session: SessionId, attempt: int) -> float:
    async with within(30):
        while True:
            reports = [row[0] for row in await pool.fetch(_STARTS, session)]
            if any(word.startswith("start") and word.endswith(f" {attempt}") for word in reports):
                return time.perf_counter()
            await asyncio.sleep(0.002)


async def test_a_killed_workers_job_runs_again_within_a_second(url: str, tmp_path: Path) -> None:
    """Measures from the SIGKILL of a worker to the next attempt's first event, in another worker on this machine."""
    pool, workers = await open_pool(url, size=5), Workers(url, tmp_path)
    seconds = []
    try:
        for _ in range(2):
            await workers.start()
        for number in range(ROUNDS):
            session = await new_session(pool, f"App {number}")
            job = await JobQueue(pool).enqueue(session, Prompt(LONG_PROMPT))
            await _until_started(pool, session, 1)
            holder = (await JobQueue(pool).get(job)).worker
            assert holder is not None
            killed = time.perf_counter()
            await workers.kill(holder)
            seconds.append(await _until_started(pool, session, 2) - killed)
            await JobQueue(pool).cancel(job)
            await workers.start()
            await _until_watched(pool, len(workers.running))
    finally:
        await workers.end()
        await pool.close()
    print(
        f"\nkilled to running again: p50 {statistics.median(seconds):.3f} s, max {max(seconds):.3f} s"
    )
    assert max(seconds) < 1.0


async def _until_watched(pool: Pool, count: int) -> None:
    """Wait until every worker is registered and, shortly afterwards, watches the others."""
    sql = "select count(*) from public.workers where gone_at is null"
    async with within(20):
        while True:
            if await pool.fetchval(sql) >= count:
                break
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


@pytest.mark.parametrize(("hears", "goal"), [(True, 0.05), (False, 1.5)])
async def test_a_cancelled_job_stops_soon(url: str, hears: bool, goal: float) -> None:
    """Measures from the call to CancelledError in the job's code, with LISTEN and with the heartbeat alone."""
    pool = await open_pool(url, size=8)
    started, stopped = asyncio.Event(), asyncio.Event()
    seconds: list[float] = []

    async def endless(job: RunningJob) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            seconds.append(time.perf_counter() - asked[job.job.id])
            stopped.set()

    asked: dict[JobId, float] = {}
    async with AsyncExitStack() as stack:
        listener = Listener(url)
        if hears:
            await stack.enter_async_context(listener)
        timings = WorkerTimings(lease=20.0, poll=0.2, concurrency=2)
        worker = Worker(Stores(pool), listener, endless, timings)
        task = asyncio.create_task(worker.run())
        try:
            for number in range(ROUNDS):
                session = await new_session(pool, f"App {number}")
                job = await JobQueue(pool).enqueue(session, Prompt("go"))
                async with within(30):
                    await started.wait()
                await asyncio.sleep(0.1 + 0.05 * (number % 20))
                asked[job] = time.perf_counter()
                await JobQueue(pool).cancel(job)
                async with within(30):
                    await stopped.wait()
                started.clear()
                stopped.clear()
        finally:
            worker.stop()
            await task
            await pool.close()
    p50, most = statistics.median(seconds), max(seconds)
    how = "with LISTEN" if hears else "by the heartbeat alone"
    print(f"\ncancel to cancelled, {how}: p50 {p50:.3f} s, max {most:.3f} s")
    assert (p50 if hears else most) < goal
