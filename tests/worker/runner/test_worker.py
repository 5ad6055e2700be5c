"""A real worker on a real Postgres is cancelled, fails, stops, and loses its lease and connections."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import (
    BudgetReached,
    DatabaseUnreachable,
    ModelRefused,
    ModelRejected,
    ModelUnavailable,
)
from mobvibe_worker.jobs import Attempt, Prompt, WorkerId
from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.stores import Stores
from support.polling import patient, until
from support.postgres.database import lose_lease, new_session
from support.working import LEASE_SECONDS, Endless, at_work, complete, until_status


@pytest.mark.parametrize(("hears", "seconds"), [(True, 1.5), (False, 6.0)])
async def test_cancelled_jobs_are_stopped_soon_with_and_without_notifications(
    database_url: str, pool: Pool, hears: bool, seconds: float
) -> None:
    """Cancels three jobs in a row. Without notifications each waits for the next heartbeat, a second later."""
    work, listener = Endless(), Listener(database_url)
    jobs = [
        await JobQueue(pool).enqueue(await new_session(pool, f"App {n}"), Prompt("a timer"))
        for n in range(3)
    ]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(at_work(pool, listener, work))
        await until(lambda: len(work.started) == 3, 10, "they run")
        if hears:
            await stack.enter_async_context(listener)
            await until(lambda: listener.is_connected)
        asked = time.monotonic()
        for job in jobs:
            await JobQueue(pool).cancel(job)
            await until_status(pool, job, "cancelled")
        assert time.monotonic() - asked < patient(seconds)
        assert [(job, why) for job, why, _ in work.stopped] == [(job, "cancelled") for job in jobs]
    for running in work.started:
        last = (await EventLog(pool).read(running.job.session_id))[-1]
        assert last.data["is_cancelled"]


RETRIED: tuple[Exception, ...] = (ModelUnavailable(), DatabaseUnreachable())
FINAL: tuple[Exception, ...] = (
    ModelRejected(),
    ModelRefused(),
    BudgetReached(),
    RuntimeError("oops \x00\ud800\x1b[2J"),
)


async def test_only_errors_worth_another_attempt_are_retried(database_url: str, pool: Pool) -> None:
    errors = {type(error).__name__: error for error in (*RETRIED, *FINAL)}

    async def work(running: RunningJob) -> None:
        raise errors[running.job.prompt]

    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        ids = {
            name: await JobQueue(pool).enqueue(await new_session(pool, name), Prompt(name))
            for name in errors
        }
        await until(lambda: worker.tally.ended == len(errors), what="all have ended")
    for name, error in errors.items():
        job = await JobQueue(pool).get(ids[name])
        event = (await EventLog(pool).read(job.session_id))[-1].data
        assert job.retry_count == 1 and event["will_retry"] is (error in RETRIED)
        if error in RETRIED:
            assert job.status == "pending" and job.run_at is not None, name
            continue
        reported = "RuntimeError" if name == "RuntimeError" else str(error)
        assert job.status == "failed" and reported in str(job.error), name
        session = await SessionStore(pool).get(job.session_id)
        assert session.status == "failed"
    assert (worker.tally.outcomes["retried"], worker.tally.outcomes["failed"]) == (2, 4)


async def test_an_attempt_that_lost_its_lease_is_stopped_and_changes_nothing(
    database_url: str, pool: Pool
) -> None:
    work = Endless()
    job = await JobQueue(pool).enqueue(await new_session(pool), Prompt("a timer"))
    async with Listener(database_url) as listener, at_work(pool, listener, work, slots=1):
        await until(lambda: len(work.started) == 1, 10, "it runs")
        await lose_lease(pool, work.started[0].job)
        await until(lambda: len(work.started) == 2, 10, "it runs again")
        await until(lambda: work.stopped[:1] != [], 10, "the first attempt is stopped")
        assert work.stopped[0][:2] == (job, "lost")
        again = await JobQueue(pool).get(job)
        assert (again.status, again.attempt, again.retry_count) == ("processing", 2, 1)


async def test_a_silent_workers_job_runs_again_within_two_seconds_of_its_lease(
    database_url: str, pool: Pool
) -> None:
    """On another machine its death cannot be seen, so only the lease counts, which is renewed once."""
    work, queue, lease = Endless(), JobQueue(pool), timedelta(seconds=2)
    job_id = await queue.enqueue(await new_session(pool), Prompt("a timer"))
    (job,) = await Claims(pool).claim(WorkerId("elsewhere"), 1, lease)
    held = Attempt(job.id, job.attempt, WorkerId("elsewhere"))
    async with Listener(database_url) as listener, at_work(pool, listener, work, slots=1):
        await until(lambda: listener.is_connected)
        assert await Claims(pool).renew(held.worker, [held], lease)
        renewed = time.monotonic()
        await until(lambda: len(work.started) == 1, 10, "it runs again")
        assert 1.5 < time.monotonic() - renewed < patient(4.0)
        assert (work.started[0].job.id, work.started[0].attempt.number) == (job_id, 2)


async def test_the_first_stop_lets_jobs_finish_and_the_second_hands_them_back(
    database_url: str, pool: Pool
) -> None:
    may_end, started = asyncio.Event(), 0

    async def work(running: RunningJob) -> None:
        nonlocal started
        started += 1
        if running.job.prompt == "short":
            await may_end.wait()
        else:
            await asyncio.Event().wait()
        await complete(Stores(pool), running)

    queue = JobQueue(pool)
    short = await queue.enqueue(await new_session(pool), Prompt("short"))
    long = await queue.enqueue(await new_session(pool, "Two"), Prompt("long"))
    next_one = await queue.enqueue((await queue.get(short)).session_id, Prompt("short"))
    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        await until(lambda: started == 2, what="both run")
        worker.stop(drain_seconds=60)
        may_end.set()
        await until_status(pool, short, "completed")
        assert (await queue.get(long)).status == "processing"
        begun = time.monotonic()
        worker.stop()
        await until_status(pool, long, "pending")
        assert time.monotonic() - begun < patient(2.0)
    handed_back = await queue.get(long)
    assert (handed_back.retry_count, handed_back.attempt) == (0, 1)
    assert (await queue.get(next_one)).attempt == 0, "a stopping worker claims nothing"


async def test_a_job_that_has_just_been_claimed_is_handed_back_too(
    database_url: str, pool: Pool
) -> None:
    """The reply to a claim and the signal to stop arrive at the same moment."""
    work, queue = Endless(), JobQueue(pool)
    timings = WorkerTimings(lease=LEASE_SECONDS, poll=10.0, concurrency=1)
    worker = Worker(Stores(pool), Listener(database_url), work, timings)
    job_id = await queue.enqueue(await new_session(pool), Prompt("a timer"))
    (job,) = await Claims(pool).claim(worker.id, 1, timedelta(seconds=LEASE_SECONDS))
    worker._start(job)
    await worker._hand_back_all()
    found = await queue.get(job_id)
    assert (found.status, found.retry_count, work.started) == ("pending", 0, [])
    assert worker.running == {} and worker.tally.outcomes["handed back"] == 1


async def test_lost_connections_stop_neither_a_job_nor_the_worker(
    database_url: str, pool: Pool
) -> None:
    work, queue = Endless(), JobQueue(pool)
    first = await queue.enqueue(await new_session(pool), Prompt("one"))
    async with Listener(database_url) as listener, at_work(pool, listener, work):
        await until(lambda: len(work.started) == 1, what="it runs")
        for _ in range(3):
            await pool.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            await until(lambda: listener.is_connected, what="it listens again")
        second = await queue.enqueue(await new_session(pool, "Two"), Prompt("two"))
        await until(
            lambda: len(work.started) == 2, 9, "the worker is notified long before the poll"
        )
        assert [each.job.id for each in work.started] == [first, second] and work.stopped == []
        assert (await queue.get(first)).attempt == 1
