"""get_queue_stats always equals count(*), and counting blocks no other transaction."""

from __future__ import annotations

import asyncio
import random
from typing import get_args

from asyncpg import Pool

from mobvibe_worker.errors import InputError, LeaseLost, NotFound
from mobvibe_worker.jobs import JobStatus, Prompt, SessionId
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.job_queue import JobQueue
from support.polling import within
from support.postgres.database import claimed, lose_lease, new_session, running_job
from support.working import finish


async def _agree(pool: Pool) -> bool:
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        stats = await connection.fetchrow("select * from get_queue_stats()")
        rows = await connection.fetch(
            "select status, count(*) as jobs from coding_jobs group by status"
        )
        counted = {row["status"]: row["jobs"] for row in rows}
        oldest = await connection.fetchval(
            "select min(created_at) from coding_jobs where status = 'pending'"
        )
    assert stats is not None
    expected = {status: counted.get(status, 0) for status in get_args(JobStatus)}
    reported = {status: stats[status] for status in get_args(JobStatus)}
    assert reported == expected
    assert (stats["oldest_pending_seconds"] is None) == (oldest is None)
    return True


async def _something(pool: Pool, chance: random.Random, sessions: list[SessionId]) -> None:
    queue = JobQueue(pool)
    match chance.randrange(9):
        case 0:
            await queue.enqueue(
                chance.choice(sessions), Prompt("one"), priority=chance.randrange(3)
            )
        case 1:
            many = [chance.choice(sessions) for _ in range(chance.randrange(1, 9))]
            await pool.execute(
                # In the order of the projects, as everything that locks several of them does.
                "insert into coding_jobs (session_id, prompt) select s.id, 'many'"
                " from unnest($1::uuid[]) as one join coding_sessions s on s.id = one order by s.project_id",
                many,
            )
        case 2:
            await _end_some(pool, chance)
        case 3 | 4:
            taken = await claimed(pool, slots=4)
            for _, attempt in taken:
                await finish(pool, attempt)
        case 5:
            for each in await queue.newest(3):
                await queue.cancel(each.id)
        case 6:
            await queue.retry_all_dead(2)
            await pool.execute("update coding_jobs set run_at = now() where run_at is not null")
        case 7:
            await _lose_all(pool)
        case 8:
            await pool.execute(
                "delete from coding_jobs where id = any (array(select id from coding_jobs"
                " where completed_at is not null order by id limit 2))"
            )


async def _end_some(pool: Pool, chance: random.Random) -> None:
    for job, attempt in await claimed(pool, slots=3):
        if chance.random() < 0.5:
            await Claims(pool).fail(attempt, "why", retry=job.prompt == "one")


async def _lose_all(pool: Pool) -> None:
    for job in await JobQueue(pool).newest(20):
        if job.status == "processing":
            await lose_lease(pool, job)
    await Claims(pool).reclaim()


async def test_the_counts_are_right_after_any_change(pool: Pool) -> None:
    chance = random.Random(7)
    sessions = [await new_session(pool, f"App {n}") for n in range(4)]
    for _ in range(60):
        await _something(pool, chance, sessions)
        assert await _agree(pool)
    assert (await JobQueue(pool).stats()).completed > 5
    await pool.execute("delete from projects where name = 'App 0'")
    assert await _agree(pool)


async def test_the_counts_are_right_after_concurrent_changes(pool: Pool) -> None:
    sessions = [await new_session(pool, f"App {n}") for n in range(8)]

    async def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            try:
                await _something(pool, chance, sessions)
            except (InputError, LeaseLost, NotFound):
                continue  # Another task was faster.

    async with within(120):
        await asyncio.gather(*map(work, range(4)))
    assert await _agree(pool)
    assert await pool.fetchval("select count(*) from private.job_counts") <= 10
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await pool.fetchval(deadlocks) == 0


async def test_an_open_transaction_blocks_no_other_count(pool: Pool) -> None:
    queue = JobQueue(pool)
    one, two = await new_session(pool), await new_session(pool, "Two")
    await queue.enqueue(one, Prompt("before"))
    async with pool.acquire() as held, held.transaction():
        await held.execute("select enqueue_job($1, 'open')", one)
        async with within(5):
            await queue.enqueue(two, Prompt("meanwhile"))
            assert (await queue.stats()).pending == 2
    assert await _agree(pool)
    async with pool.acquire() as old, old.transaction(isolation="repeatable_read"):
        await old.fetchval("select count(*) from coding_jobs")
        await queue.enqueue(two, Prompt("since then"))
        await old.execute("select enqueue_job($1, 'from an old snapshot')", one)
    assert await _agree(pool)
    assert (await queue.stats()).pending == 5


async def test_a_recount_corrects_changes_made_without_triggers(pool: Pool) -> None:
    await running_job(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update coding_jobs set status = 'completed', is_head = false")
    assert (await JobQueue(pool).stats()).processing == 1
    await pool.execute("select private.recount_jobs()")
    assert await _agree(pool)
    # Events cannot be truncated; without that trigger the whole queue can be.
    await pool.execute("alter table session_events disable trigger immutable_whole")
    await pool.execute("truncate coding_jobs cascade")
    assert await _agree(pool)
    assert (await JobQueue(pool).stats()).completed == 0
