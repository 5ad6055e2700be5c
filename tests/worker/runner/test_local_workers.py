"""Workers on one machine notice the death of another at once, and ignore mere silence."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from asyncpg import Pool

from mobvibe_worker.jobs import JobId, Prompt
from mobvibe_worker.runner.local_workers import (
    ProcessIdentity,
    is_seen_dead,
    machine_key,
    until_dead,
)
from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.stores import Stores
from support.polling import Programs, patient, until, within
from support.postgres.database import new_session
from support.queue.headless import until_row

SCRIPT = Path(__file__).parents[2] / "support" / "queue" / "worker_process.py"
RUNNING = "select worker from coding_jobs where status = 'processing'"


@pytest_asyncio.fixture
async def programs() -> AsyncIterator[Programs]:
    """Starts programs that the test may kill."""
    started = Programs()
    yield started
    await started.kill_all()


async def _running_elsewhere(
    programs: Programs, database_url: str, pool: Pool
) -> tuple[asyncio.subprocess.Process, JobId]:
    job = await JobQueue(pool).enqueue(await new_session(pool), Prompt("a timer"))
    process = await programs.start(sys.executable, str(SCRIPT), database_url)
    await until_row(pool, RUNNING)
    return process, job


class Second:
    """A second worker, in this process."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        timings = WorkerTimings(lease=120.0, poll=10.0, concurrency=4)
        self.started: list[tuple[JobId, int, float]] = []
        self.worker = Worker(Stores(pool), listener, self._never_ends, timings)

    async def _never_ends(self, running: RunningJob) -> None:
        self.started.append((running.job.id, running.attempt.number, time.monotonic()))
        await asyncio.Event().wait()


async def test_a_killed_workers_job_runs_again_within_a_second(
    programs: Programs, database_url: str, pool: Pool
) -> None:
    victim, job = await _running_elsewhere(programs, database_url, pool)
    async with within(60), Listener(database_url) as listener:
        second = Second(pool, listener)
        task = asyncio.create_task(second.worker.run())
        await until(lambda: listener.is_connected)
        await until_row(pool, "select 1 from workers having count(*) = 2")
        # The worker lost its connections but is alive, so it must keep its job.
        await pool.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'worker-process'"
        )
        await asyncio.sleep(1.0)
        assert second.started == []
        assert victim.returncode is None and str(victim.pid) in await pool.fetchval(RUNNING)

        killed = time.monotonic()
        victim.kill()
        await until(lambda: len(second.started) == 1, 10, "it runs again")
        ((again, attempt, at),) = second.started
        assert (again, attempt) == (job, 2) and at - killed < patient(1.0)
        second.worker.stop()
        await task


async def test_a_starting_worker_takes_over_the_jobs_of_a_dead_one(
    programs: Programs, database_url: str, pool: Pool
) -> None:
    victim, job = await _running_elsewhere(programs, database_url, pool)
    victim.kill()
    await victim.wait()
    async with within(60), Listener(database_url) as listener:
        second = Second(pool, listener)
        begun = time.monotonic()
        task = asyncio.create_task(second.worker.run())
        await until(lambda: len(second.started) == 1, 10, "it runs again")
        assert second.started[0][:2] == (job, 2) and second.started[0][2] - begun < patient(2.0)
        assert (await JobQueue(pool).get(job)).error == "The worker was lost."
        second.worker.stop()
        await task


def test_a_process_is_dead_if_it_has_ended_or_its_pid_was_reused() -> None:
    own = ProcessIdentity.own()
    assert own.started and own.machine_key == machine_key()
    assert not is_seen_dead(own.pid, own.started)
    assert not is_seen_dead(own.pid, ""), (
        "without a start time only a missing process proves its death"
    )
    assert is_seen_dead(own.pid, f"{own.started}0")
    assert not is_seen_dead(1, "")
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_seen_dead(child.pid, ""), "a zombie is dead"
    child.wait()
    assert is_seen_dead(child.pid, "")


async def test_the_end_of_a_process_is_noticed_at_once() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    watching = asyncio.create_task(until_dead(child.pid, ""))
    await asyncio.sleep(0.5)
    assert not watching.done()
    child.kill()
    async with within(5):
        await watching
    await child.wait()
