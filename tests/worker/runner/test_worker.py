"""A real worker on a real Postgres: batches, slots, cancelling, failing, stopping, losing its connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asyncpg import Pool

from database import lose_lease, new_session
from mobvibe_worker.errors import (
    BudgetReached,
    DatabaseUnreachable,
    ModelRefused,
    ModelRejected,
    ModelUnavailable,
)
from mobvibe_worker.jobs import Attempt, JobId, WorkerId
from mobvibe_worker.runner.running import Rhythm, RunAttempt, RunningJob
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue, NewJob
from mobvibe_worker.store.listener import Listener
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.workers import WorkerRegistry
from polling import until

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
    """A worker that runs until the end of the block; what runs then is handed back."""
    rhythm = Rhythm(lease=lease, poll=10.0, concurrency=slots)
    worker = Worker(JobQueue(pool), WorkerRegistry(pool), listener, run_attempt, rhythm)
    async with asyncio.timeout(60):
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task


async def until_status(pool: Pool, job: JobId, status: str, seconds: float = 20.0) -> None:
    """Return when a job has this status."""
    deadline = time.monotonic() + seconds
    while (now := (await JobQueue(pool).get(job)).status) != status:
        assert time.monotonic() < deadline, f"{job} is still {now}"
        await asyncio.sleep(0.01)


class Endless:
    """Attempts that go on until they are stopped."""

    def __init__(self) -> None:
        self.started: list[RunningJob] = []
        self.stopped: list[tuple[JobId, str | None, float]] = []

    async def __call__(self, running: RunningJob) -> None:
        self.started.append(running)
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.append((running.job.id, running.why_stopped, time.monotonic()))


async def test_results_are_stored_in_order_with_never_more_than_the_slots(
    database_url: str, pool: Pool
) -> None:
    sessions = [await new_session(pool, f"App {n}") for n in range(6)]
    busy: set[UUID] = set()
    most = 0
    done: dict[UUID, list[str]] = {session: [] for session in sessions}

    async def work(running: RunningJob) -> Mapping[str, Any]:
        nonlocal most
        assert running.job.project_id not in busy
        busy.add(running.job.project_id)
        most = max(most, len(busy))
        await asyncio.sleep(0)
        busy.remove(running.job.project_id)
        done[running.job.session_id].append(running.job.prompt)
        return {"did": running.job.prompt}

    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        given = [NewJob(session, str(n)) for n in range(30) for session in sessions]
        ids = await JobQueue(pool).enqueue_many(given)
        await until(lambda: worker.tally.outcomes["completed"] == 180, 30, "all are done")
    assert most <= 4
    assert all(order == [str(n) for n in range(30)] for order in done.values())
    stored = await pool.fetch("select id, result, attempt, status from coding_jobs")
    assert {row["id"]: row["result"]["did"] for row in stored} == {
        job_id: job.prompt for job_id, job in zip(ids, given, strict=True)
    }
    assert {(row["attempt"], row["status"]) for row in stored} == {(1, "completed")}
    assert await pool.fetchval("select gone_at from workers") is not None


async def test_what_finishes_at_an_idle_worker_is_written_together(
    database_url: str, pool: Pool
) -> None:
    """One job ends just after the other: both are of one transaction, unless the worker looked for jobs in between."""
    queue = JobQueue(pool)
    sessions = [await new_session(pool, f"App {n}") for n in range(2)]
    second_runs, first_ended = asyncio.Event(), asyncio.Event()

    async def work(running: RunningJob) -> Mapping[str, Any]:
        if running.job.prompt == "first":
            await second_runs.wait()
            assert running.task is not None
            running.task.add_done_callback(lambda _: first_ended.set())
        elif running.job.prompt == "second":
            second_runs.set()
            await first_ended.wait()
        return {}

    together = 0
    async with Listener(database_url) as listener, at_work(pool, listener, work):
        await until_status(pool, await queue.enqueue(sessions[0], "nobody follows"), "completed")
        for _ in range(8):
            given = [NewJob(sessions[0], "first"), NewJob(sessions[1], "second")]
            pair = await queue.enqueue_many(given)
            for each in pair:
                await until_status(pool, each, "completed")
            together += await pool.fetchval(
                "select count(distinct updated_at) = 1 from coding_jobs where id = any ($1)", pair
            )
            second_runs.clear()
            first_ended.clear()
    assert together >= 5


async def test_one_locked_project_does_not_stop_the_others(database_url: str, pool: Pool) -> None:
    """Its job is completed when it can be; meanwhile all slots work on, however many projects are locked."""
    queue = JobQueue(pool)
    locked = [await new_session(pool, f"Locked {n}") for n in range(3)]
    others = [await new_session(pool, f"App {n}") for n in range(9)]
    let_go = asyncio.Event()

    async def work(running: RunningJob) -> Mapping[str, Any]:
        if running.job.prompt == "locked":
            await let_go.wait()
        return {}

    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        held = [await queue.enqueue(session, "locked") for session in locked]
        await until(lambda: len(worker.running) == 3, 10, "they run")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "select from projects p where exists (select from coding_jobs j"
                " where j.project_id = p.id and j.status = 'processing') for no key update"
            )
            let_go.set()
            await until(lambda: not worker.running, 10, "their work is done")
            await queue.enqueue_many([NewJob(each, "other") for each in others for _ in range(5)])
            await until(lambda: worker.tally.outcomes["completed"] == 45, 10, "the others are done")
            assert {(await queue.get(each)).status for each in held} == {"processing"}
        await until(lambda: worker.tally.outcomes["completed"] == 48, 10, "all are done")
    assert {(await queue.get(each)).status for each in held} == {"completed"}


@pytest.mark.parametrize(("hears", "seconds"), [(True, 1.5), (False, 6.0)])
async def test_cancelled_jobs_are_stopped_soon_with_and_without_notifications(
    database_url: str, pool: Pool, hears: bool, seconds: float
) -> None:
    """Three in a row: without notifications each waits for the next look, a second after the one before."""
    work, listener = Endless(), Listener(database_url)
    jobs = [
        await JobQueue(pool).enqueue(await new_session(pool, f"App {n}"), "a timer")
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
        assert time.monotonic() - asked < seconds
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


async def test_errors_worth_another_attempt_are_told_apart_from_the_others(
    database_url: str, pool: Pool
) -> None:
    errors = {type(error).__name__: error for error in (*RETRIED, *FINAL)}

    async def work(running: RunningJob) -> None:
        raise errors[running.job.prompt]

    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        ids = {
            name: await JobQueue(pool).enqueue(await new_session(pool, name), name)
            for name in errors
        }
        await until(lambda: worker.tally.ended == len(errors), what="all ended")
    for name, error in errors.items():
        job = await JobQueue(pool).get(ids[name])
        event = (await EventLog(pool).read(job.session_id))[-1].data
        assert job.retry_count == 1 and event["will_retry"] is (error in RETRIED)
        if error in RETRIED:
            assert job.status == "pending" and job.run_at is not None, name
            continue
        told = "RuntimeError" if name == "RuntimeError" else str(error)
        assert job.status == "failed" and told in str(job.error), name
        session = await SessionStore(pool).get(job.session_id)
        assert session.status == "failed"
    assert (worker.tally.outcomes["retried"], worker.tally.outcomes["failed"]) == (2, 4)


async def test_a_result_that_cannot_be_stored_fails_its_job_and_no_other(
    database_url: str, pool: Pool
) -> None:
    async def work(running: RunningJob) -> Mapping[str, Any]:
        return {"text": "\x00" if running.job.prompt == "bad" else "fine"}

    sessions = [await new_session(pool, f"App {n}") for n in range(3)]
    bad, *good = await JobQueue(pool).enqueue_many(
        [NewJob(session, "bad" if n == 0 else "good") for n, session in enumerate(sessions)]
    )
    async with Listener(database_url) as listener, at_work(pool, listener, work):
        await until_status(pool, bad, "failed")
        for each in good:
            await until_status(pool, each, "completed")
    assert "cannot be stored" in str((await JobQueue(pool).get(bad)).error)


async def test_a_batch_that_waits_for_a_lock_holds_no_other_up(
    database_url: str, pool: Pool
) -> None:
    queue, may_end = JobQueue(pool), asyncio.Event()

    async def run(running: RunningJob) -> Mapping[str, Any]:
        if running.job.prompt == "held up":
            await may_end.wait()
        return {}

    async with Listener(database_url) as listener, at_work(pool, listener, run):
        session = await new_session(pool)
        held_up = await queue.enqueue(session, "held up")
        await until_status(pool, held_up, "processing")
        async with pool.acquire() as person, person.transaction():
            await person.execute(
                "select from public.projects p join public.coding_sessions s on s.project_id = p.id"
                " where s.id = $1 for update of p",
                session,
            )
            may_end.set()
            free = await queue.enqueue(await new_session(pool, "Free"), "free")
            await until_status(pool, free, "completed")
            assert (await queue.get(held_up)).status == "processing"
        await until_status(pool, held_up, "completed")


async def test_who_lost_the_lease_is_stopped_and_changes_nothing(
    database_url: str, pool: Pool
) -> None:
    work = Endless()
    job = await JobQueue(pool).enqueue(await new_session(pool), "a timer")
    async with Listener(database_url) as listener, at_work(pool, listener, work, slots=1):
        await until(lambda: len(work.started) == 1, 10, "it runs")
        await lose_lease(pool, work.started[0].job)
        await until(lambda: len(work.started) == 2, 10, "it runs again")
        await until(lambda: work.stopped[:1] != [], 10, "the first attempt is stopped")
        assert work.stopped[0][:2] == (job, "lost")
        again = await JobQueue(pool).get(job)
        assert (again.status, again.attempt, again.retry_count) == ("processing", 2, 1)


async def test_what_a_silent_worker_held_runs_again_two_seconds_after_its_lease_at_most(
    database_url: str, pool: Pool
) -> None:
    """On another host nobody sees it die: the lease, renewed once more, is all there is to go by."""
    work, queue, lease = Endless(), JobQueue(pool), timedelta(seconds=2)
    job_id = await queue.enqueue(await new_session(pool), "a timer")
    (job,) = await queue.claim(WorkerId("elsewhere"), 1, lease)
    held = Attempt(job.id, job.attempt, WorkerId("elsewhere"))
    async with Listener(database_url) as listener, at_work(pool, listener, work, slots=1):
        await until(lambda: listener.is_connected)
        assert await queue.renew(held.worker, [held], lease)
        renewed = time.monotonic()
        await until(lambda: len(work.started) == 1, 10, "it runs again")
        assert 1.5 < time.monotonic() - renewed < 4.0
        assert (work.started[0].job.id, work.started[0].attempt.number) == (job_id, 2)


async def test_the_first_stop_lets_jobs_finish_and_the_second_hands_them_back(
    database_url: str, pool: Pool
) -> None:
    may_end, started = asyncio.Event(), 0

    async def work(running: RunningJob) -> Mapping[str, Any]:
        nonlocal started
        started += 1
        if running.job.prompt == "short":
            await may_end.wait()
        else:
            await asyncio.Event().wait()
        return {"done": True}

    queue = JobQueue(pool)
    short = await queue.enqueue(await new_session(pool), "short")
    long = await queue.enqueue(await new_session(pool, "Two"), "long")
    next_one = await queue.enqueue((await queue.get(short)).session_id, "short")
    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        await until(lambda: started == 2, what="both run")
        worker.stop(drain_seconds=60)
        may_end.set()
        await until_status(pool, short, "completed")
        assert (await queue.get(long)).status == "processing"
        begun = time.monotonic()
        worker.stop()
        await until_status(pool, long, "pending")
        assert time.monotonic() - begun < 2.0
    handed_back = await queue.get(long)
    assert (handed_back.retry_count, handed_back.attempt) == (0, 1)
    assert (await queue.get(next_one)).attempt == 0, "nothing is claimed while it stops"


async def test_a_job_that_has_not_taken_a_step_is_handed_back_too(
    database_url: str, pool: Pool
) -> None:
    """The answer to a claim and the signal to stop come at the same moment."""
    work, queue = Endless(), JobQueue(pool)
    rhythm = Rhythm(lease=LEASE_SECONDS, poll=10.0, concurrency=1)
    worker = Worker(queue, WorkerRegistry(pool), Listener(database_url), work, rhythm)
    job_id = await queue.enqueue(await new_session(pool), "a timer")
    (job,) = await queue.claim(worker.id, 1, timedelta(seconds=LEASE_SECONDS))
    worker.exchange.start(job)
    await worker._hand_back_all()
    found = await queue.get(job_id)
    assert (found.status, found.retry_count, work.started) == ("pending", 0, [])
    assert worker.running == {} and worker.tally.outcomes["handed back"] == 1


async def test_lost_connections_neither_stop_a_job_nor_the_worker(
    database_url: str, pool: Pool
) -> None:
    work, queue = Endless(), JobQueue(pool)
    first = await queue.enqueue(await new_session(pool), "one")
    async with Listener(database_url) as listener, at_work(pool, listener, work):
        await until(lambda: len(work.started) == 1, what="it runs")
        for _ in range(3):
            await pool.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            await until(lambda: listener.is_connected, what="it listens again")
        second = await queue.enqueue(await new_session(pool, "Two"), "two")
        await until(lambda: len(work.started) == 2, 9, "heard of, long before the poll")
        assert [each.job.id for each in work.started] == [first, second] and work.stopped == []
        assert (await queue.get(first)).attempt == 1
