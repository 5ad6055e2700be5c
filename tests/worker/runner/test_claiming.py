"""A worker fills its slots and no more, whatever happens to the projects and results of its jobs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

from asyncpg import Pool

from mobvibe_worker.jobs import Prompt
from mobvibe_worker.runner.running_job import RunningJob
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.stores import Stores
from support.polling import until
from support.postgres.database import new_session
from support.queue.headless import until_row
from support.working import at_work, complete, until_status

HOLD = "select from projects where name like $1 for no key update"
EXPIRES = "select lease_expires_at from coding_jobs where id = $1"
LONG = timedelta(seconds=2)
"""Twice the lease."""


async def test_results_are_stored_in_order_and_the_slots_never_exceeded(
    database_url: str, pool: Pool
) -> None:
    stores, queue = Stores(pool), JobQueue(pool)
    sessions = [await new_session(pool, f"App {n}") for n in range(6)]
    busy: set[UUID] = set()
    most = 0
    done: dict[UUID, list[str]] = {session: [] for session in sessions}

    async def work(running: RunningJob) -> None:
        nonlocal most
        assert running.job.project_id not in busy
        busy.add(running.job.project_id)
        most = max(most, len(busy))
        await asyncio.sleep(0)
        busy.remove(running.job.project_id)
        done[running.job.session_id].append(running.job.prompt)
        await complete(stores, running, did=running.job.prompt)

    given = {
        await queue.enqueue(each, Prompt(str(n))): str(n) for n in range(15) for each in sessions
    }
    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        await until(lambda: worker.tally.outcomes["completed"] == 90, 40, "all are done")
    assert most <= 4
    assert all(order == [str(n) for n in range(15)] for order in done.values())
    stored = await pool.fetch("select id, result, attempt, status from coding_jobs")
    assert {row["id"]: row["result"]["did"] for row in stored} == given
    assert {(row["attempt"], row["status"]) for row in stored} == {(1, "completed")}
    assert await pool.fetchval("select gone_at from workers") is not None


async def test_one_locked_project_does_not_stop_the_others(database_url: str, pool: Pool) -> None:
    """The free slots keep working, and the locked project's job completes after the lock."""
    stores, queue, let_go = Stores(pool), JobQueue(pool), asyncio.Event()

    async def work(running: RunningJob) -> None:
        if running.job.prompt == "locked":
            await let_go.wait()
        await complete(stores, running)

    async with Listener(database_url) as listener, at_work(pool, listener, work) as worker:
        held = await queue.enqueue(await new_session(pool, "Locked"), Prompt("locked"))
        await until_status(pool, held, "processing")
        async with pool.acquire() as person, person.transaction():
            await person.execute(HOLD, "Locked")
            let_go.set()
            others = [await new_session(pool, f"App {n}") for n in range(3)]
            for session in others * 3:
                await queue.enqueue(session, Prompt("other"))
            await until(lambda: worker.tally.outcomes["completed"] == 9, 20, "the others are done")
            assert (await queue.get(held)).status == "processing"
        await until_status(pool, held, "completed")


async def test_a_result_that_cannot_be_stored_fails_only_its_own_job(
    database_url: str, pool: Pool
) -> None:
    stores, queue = Stores(pool), JobQueue(pool)

    async def work(running: RunningJob) -> None:
        await complete(stores, running, text="\x00" if running.job.prompt == "bad" else "fine")

    ids = [
        await queue.enqueue(await new_session(pool, prompt), Prompt(prompt))
        for prompt in ("bad", "good", "good")
    ]
    async with Listener(database_url) as listener, at_work(pool, listener, work):
        await until_status(pool, ids[0], "failed")
        for each in ids[1:]:
            await until_status(pool, each, "completed")
    assert (await queue.get(ids[0])).error


async def test_a_project_lock_longer_than_the_lease_does_not_repeat_the_work(
    database_url: str, pool: Pool
) -> None:
    stores, queue, let_go = Stores(pool), JobQueue(pool), asyncio.Event()
    is_done = asyncio.Event()

    async def work(running: RunningJob) -> None:
        await let_go.wait()
        is_done.set()
        await complete(stores, running)

    session = await new_session(pool)
    async with Listener(database_url) as listener, at_work(pool, listener, work, lease=1):
        job = await queue.enqueue(session, Prompt("locked when it ends"))
        await until_status(pool, job, "processing")
        async with pool.acquire() as person, person.transaction():
            await person.execute(HOLD, "%")
            let_go.set()
            await is_done.wait()
            first = await pool.fetchval(EXPIRES, job)
            await until_row(pool, f"{EXPIRES} and lease_expires_at > $2", job, first + LONG)
        await until_status(pool, job, "completed")
    assert (await queue.get(job)).attempt == 1


async def test_a_stopping_worker_waits_only_seconds_for_a_lock_and_loses_no_other_result(
    database_url: str, pool: Pool
) -> None:
    stores, queue, let_go = Stores(pool), JobQueue(pool), asyncio.Event()

    async def work(running: RunningJob) -> None:
        await let_go.wait()
        await complete(stores, running)

    bad, good = [
        await queue.enqueue(await new_session(pool, name), Prompt(name)) for name in ("bad", "good")
    ]
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(Listener(database_url))
        worker = await stack.enter_async_context(at_work(pool, listener, work))
        for each in (bad, good):
            await until_status(pool, each, "processing")
        person = await stack.enter_async_context(pool.acquire())
        await stack.enter_async_context(person.transaction())
        await person.execute(HOLD, "bad")
        let_go.set()
        await until(lambda: len(worker.running) == 1, 10, "one result is stored")
        worker.stop()
        worker.stop()
        await until_status(pool, good, "completed")
        await until_row(pool, "select 1 from workers where gone_at is not null", seconds=30)
        assert (await queue.get(bad)).status == "processing"
