"""What finishes is traded for what is next: batches, slots, locked projects, results that cannot be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

from asyncpg import Pool

from mobvibe_worker.runner.running_job import RunningJob
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.job_queue import JobQueue, NewJob
from support.polling import until
from support.postgres.database import new_session
from support.queue.headless import until_row
from support.working import at_work, until_status

HOLD = "select from projects where name like $1 for no key update"
EXPIRES = "select lease_expires_at from coding_jobs where id = $1"
LONG = timedelta(seconds=2)
"""Twice the lease."""


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


async def test_work_whose_project_is_locked_for_longer_than_its_lease_is_not_done_again(
    database_url: str, pool: Pool
) -> None:
    queue, let_go = JobQueue(pool), asyncio.Event()

    async def work(running: RunningJob) -> Mapping[str, Any]:
        await let_go.wait()
        return {}

    session = await new_session(pool)
    async with Listener(database_url) as listener, at_work(pool, listener, work, lease=1) as worker:
        job = await queue.enqueue(session, "locked when it ends")
        await until_status(pool, job, "processing")
        async with pool.acquire() as person, person.transaction():
            await person.execute(HOLD, "%")
            let_go.set()
            await until(lambda: not worker.running, 10, "it is done")
            first = await pool.fetchval(EXPIRES, job)
            await until_row(pool, f"{EXPIRES} and lease_expires_at > $2", job, first + LONG)
        await until_status(pool, job, "completed")
    assert (await queue.get(job)).attempt == 1


async def test_a_worker_that_stops_waits_for_no_lock_and_loses_no_good_result(
    database_url: str, pool: Pool
) -> None:
    queue, let_go = JobQueue(pool), asyncio.Event()

    async def work(running: RunningJob) -> Mapping[str, Any]:
        await let_go.wait()
        return {"text": "\x00" if running.job.prompt == "bad" else "fine"}

    bad, good = await queue.enqueue_many(
        [NewJob(await new_session(pool, name), name) for name in ("bad", "good")]
    )
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(Listener(database_url))
        worker = await stack.enter_async_context(at_work(pool, listener, work))
        for each in (bad, good):
            await until_status(pool, each, "processing")
        person = await stack.enter_async_context(pool.acquire())
        await stack.enter_async_context(person.transaction())
        await person.execute(HOLD, "bad")
        let_go.set()
        await until(lambda: not worker.running, 10, "both are done")
        worker.stop()
        worker.stop()
        await until_status(pool, good, "completed")
        await until_row(pool, "select 1 from workers where gone_at is not null", seconds=30)
        assert (await queue.get(bad)).status == "processing"
