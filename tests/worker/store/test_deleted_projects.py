"""The waiting jobs of a deleted project do not run until the project is restored."""

from __future__ import annotations

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.jobs import Job, JobId, Prompt, UserId, WorkerId
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.sessions import SessionStore
from support.postgres.database import claimed, lose_lease, new_session, running_job
from support.postgres.tenants import outcome
from support.working import finish

W = WorkerId("w1")


async def mark(pool: Pool, job: Job, status: str) -> None:
    """Mark the project as deleted or active, as the person's phone does."""
    await pool.execute("update projects set status = $2 where id = $1", job.project_id, status)


async def test_waiting_jobs_do_not_run_until_the_project_is_restored(
    pool: Pool, database_url: str
) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    urgent, plain = [
        await queue.enqueue(session, Prompt(name), priority=n) for n, name in ((5, "a"), (0, "b"))
    ]
    job = await queue.get(plain)
    await mark(pool, job, "deleted")
    assert await claimed(pool, slots=9) == []
    assert await pool.fetchval("select count(*) from claim_next_job()") == 0
    stats = await queue.stats()
    assert (stats.pending, stats.oldest_pending_seconds) == (2, None)

    listening = await asyncpg.connect(database_url)
    heard: list[str] = []
    await listening.add_listener("new_job", lambda *notice: heard.append(str(notice[3])))
    await mark(pool, job, "active")
    await listening.fetchval("select 1")
    await listening.close()
    assert len(heard) == 1 and str(urgent) in heard[0], "workers are notified"
    ((first, _),) = await claimed(pool, slots=9)
    assert first.id == urgent
    assert (await queue.stats()).oldest_pending_seconds is not None


async def test_waiting_jobs_of_a_deleted_project_can_be_cancelled(pool: Pool) -> None:
    queue = JobQueue(pool)
    job = await queue.get(await queue.enqueue(await new_session(pool), Prompt("an app")))
    await mark(pool, job, "deleted")
    assert await queue.cancel(job.id) == "cancelled"
    await mark(pool, job, "active")
    assert await claimed(pool) == []


@pytest.mark.parametrize("ending", ["handed back", "failed", "lost", "completed"])
async def test_no_job_follows_the_running_one_however_it_ends(pool: Pool, ending: str) -> None:
    queue = JobQueue(pool)
    job, attempt = await running_job(pool)
    waiting = await queue.enqueue(job.session_id, Prompt("the next one"))
    await mark(pool, job, "deleted")
    assert [held.job_id for held in await Claims(pool).held(W, [attempt])] == [job.id], (
        "it keeps running"
    )
    match ending:
        case "handed back":
            await Claims(pool).hand_back(attempt)
        case "failed":
            assert await Claims(pool).fail(attempt, "overloaded", retry=True)
            await pool.execute("update coding_jobs set run_at = now() where run_at is not null")
        case "lost":
            await lose_lease(pool, job)
            assert await Claims(pool).reclaim() == [job.id]
        case _:
            await finish(pool, attempt)
    assert await claimed(pool, slots=9) == []
    assert await Claims(pool).next_due_seconds() is None
    await mark(pool, job, "active")
    ((next_one, _),) = await claimed(pool, slots=9)
    assert next_one.id == (waiting if ending == "completed" else job.id)


async def test_a_person_can_delete_and_restore_a_project(pool: Pool) -> None:
    """Row-level security lets a person change no job, but the line of jobs still follows."""
    person = UserId(
        await pool.fetchval(
            "insert into auth.users (id, email) values"
            " ('00000000-0000-4000-8000-00000000000a', 'a@b.example') returning id"
        )
    )
    project = await ProjectStore(pool).create(person, "App", 54)
    session = await SessionStore(pool).create(project.id, "an app")
    job = await JobQueue(pool).enqueue(session, Prompt("an app"))
    async with pool.acquire() as connection:
        for status, heads in (("deleted", 0), ("active", 1)):
            statement = f"update public.projects set status = '{status}'"
            assert await outcome(connection, "owner", statement) == 1
            await connection.execute(statement)
            assert await heads_of(pool, job) == heads


async def heads_of(pool: Pool, job: JobId) -> int:
    """1 if the job is the head of its line, else 0."""
    return int(await pool.fetchval("select is_head::int from coding_jobs where id = $1", job))
