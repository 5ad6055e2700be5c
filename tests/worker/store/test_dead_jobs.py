"""The next job after a finished one, jobs of dead workers, and the retry of dead jobs."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import LeaseLost, NotFound
from mobvibe_worker.jobs import LOCAL_OWNER, Attempt, JobId, Prompt, UserId, WorkerId
from mobvibe_worker.store.claims import Claims, Renewal
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.workers import WorkerRegistry
from support.postgres.database import LEASE, claimed, new_session, running_job
from support.queue.headless import until_row
from support.working import finish

W = WorkerId("w1")
WAITS = (
    "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
)


async def _heads(pool: Pool) -> list[str]:
    rows = await pool.fetch("select prompt from coding_jobs where is_head order by prompt")
    return [row["prompt"] for row in rows]


async def test_the_most_urgent_job_of_the_project_follows_a_finished_one(pool: Pool) -> None:
    queue, one, two = JobQueue(pool), await new_session(pool), await new_session(pool, "Two")
    for session, prompt in ((one, "1a"), (two, "2a")):
        await queue.enqueue(session, Prompt(prompt))
    taken = await claimed(pool, slots=2)
    for session, prompt, priority in ((one, "1b", 0), (one, "1c", 2), (two, "2b", 1)):
        await queue.enqueue(session, Prompt(prompt), priority=priority)
    await queue.enqueue(two, Prompt("2c"), recording="demo")
    assert await claimed(pool, slots=9) == [], "a project runs one job at a time"
    for _, attempt in taken:
        await finish(pool, attempt)
    assert await _heads(pool) == ["1c", "2b"]
    assert await Claims(pool).claim(W, 9, LEASE, recordings_only=True) == []
    assert [job.prompt for job, _ in await claimed(pool, slots=9)] == ["1c", "2b"]


async def test_a_delayed_completion_is_refused_if_a_new_attempt_has_the_job(
    pool: Pool,
) -> None:
    """The attempt is checked after the wait for the project's lock, even if the worker is the same."""
    job, first = await running_job(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select from projects where id = $1 for no key update", job.project_id
        )
        finishing = asyncio.create_task(finish(pool, first))
        await until_row(pool, WAITS, seconds=10)
        await connection.execute(
            "update coding_jobs set attempt = attempt + 1 where id = $1", job.id
        )
    with pytest.raises(LeaseLost):
        await finishing
    assert (await JobQueue(pool).get(job.id)).status == "processing"
    await finish(pool, Attempt(job.id, first.number + 1, W))
    assert (await JobQueue(pool).get(job.id)).status == "completed"


async def test_held_jobs_are_read_without_writing(pool: Pool) -> None:
    queue = JobQueue(pool)
    job, attempt = await running_job(pool)
    before = await pool.fetchval("select xmin::text from coding_jobs")
    assert await Claims(pool).held(W, [attempt]) == [Renewal(job.id, False)]
    assert await pool.fetchval("select xmin::text from coding_jobs") == before
    await queue.cancel(job.id)
    assert await Claims(pool).held(W, [attempt]) == [Renewal(job.id, True)]
    for stale in (Attempt(job.id, 2, W), Attempt(JobId(uuid4()), 1, W)):
        assert await Claims(pool).held(W, [stale]) == []
    assert await Claims(pool).held(WorkerId("w2"), [attempt]) == []


async def test_all_dead_jobs_are_requeued_and_their_sessions_reopened(pool: Pool) -> None:
    queue = JobQueue(pool)
    dead = []
    for _ in range(3):
        job, attempt = await running_job(pool)
        await Claims(pool).fail(attempt, "bad key", retry=False)
        dead.append(job)
    gone = dead.pop()
    await pool.execute("update projects set status = 'deleted' where id = $1", gone.project_id)
    assert (await SessionStore(pool).get(dead[0].session_id)).status == "failed"
    assert await queue.retry_all_dead(1) == [dead[0].id]
    assert await queue.retry_all_dead() == [dead[1].id]
    assert await queue.retry_all_dead() == []
    with pytest.raises(NotFound, match="deleted"):
        await queue.retry(gone.id)
    for job in dead:
        again = await queue.get(job.id)
        assert (again.status, again.retry_count, again.error) == ("pending", 0, None)
        assert (await SessionStore(pool).get(job.session_id)).status == "active"
    assert {job.id for job, _ in await claimed(pool, slots=9)} == {job.id for job in dead}


async def test_one_persons_session_limit_does_not_affect_other_peoples_dead_jobs(
    pool: Pool,
) -> None:
    queue = JobQueue(pool)
    person = UserId(
        await pool.fetchval(
            "insert into auth.users (id, email) values (gen_random_uuid(), 'a@b.example') returning id"
        )
    )
    sessions = []
    for number in range(5):
        project = await ProjectStore(pool).create(person, f"App {number}", 54)
        sessions.append(await SessionStore(pool).create(project.id, "an app"))
        await pool.execute("update coding_sessions set status = 'failed'")
    sessions.append(await new_session(pool))
    await pool.execute(
        "insert into coding_jobs (session_id, prompt, status, completed_at)"
        " select id, 'an app', 'failed', now() from unnest($1::uuid[]) as id",
        sessions,
    )
    revived = [await queue.get(job) for job in await queue.retry_all_dead()]
    owners = [job.user_id for job in revived]
    assert owners.count(person) == 3 and owners.count(LOCAL_OWNER) == 1
    assert {job.status for job in revived} == {"pending"}
    stats = await queue.stats()
    assert (stats.pending, stats.failed) == (4, 2)
    assert len(await claimed(pool, slots=9)) == 4


async def test_a_session_opened_during_a_retry_affects_only_its_owners_dead_jobs(
    pool: Pool,
) -> None:
    """The one job that was about to be retried stays dead, and the next one takes its place."""
    queue = JobQueue(pool)
    person = UserId(
        await pool.fetchval(
            "insert into auth.users (id, email) values (gen_random_uuid(), 'a@b.example') returning id"
        )
    )
    project = (await ProjectStore(pool).create(person, "App", 54)).id
    await pool.execute("update profiles set sessions_limit = 1 where id = $1", person)
    closed = await pool.fetchval(
        "insert into coding_sessions (project_id, status) values ($1, 'failed') returning id",
        project,
    )
    other = await new_session(pool)
    await pool.execute(
        "insert into coding_jobs (session_id, prompt, status, completed_at)"
        " select id, 'an app', 'failed', now() + make_interval(secs => n)"
        " from unnest($1::uuid[]) with ordinality as s (id, n)",
        [closed, other],
    )
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("insert into coding_sessions (project_id) values ($1)", project)
        retrying = asyncio.create_task(queue.retry_all_dead(1))
        await until_row(pool, WAITS, seconds=10)
    assert [(await queue.get(job)).session_id for job in await retrying] == [other]
    assert await queue.retry_all_dead() == []
    assert (await queue.stats()).failed == 1


async def test_dead_jobs_that_cannot_be_retried_do_not_hide_others(pool: Pool) -> None:
    """The oldest dead jobs belong to a person at the session limit; two more are in an open session."""
    queue = JobQueue(pool)
    person = UserId(
        await pool.fetchval(
            "insert into auth.users (id, email) values (gen_random_uuid(), 'a@b.example') returning id"
        )
    )
    project = (await ProjectStore(pool).create(person, "App", 54)).id
    await pool.execute("update profiles set sessions_limit = 1 where id = $1", person)
    kept, open_one = [
        await pool.fetch(
            "insert into coding_sessions (project_id, status) select $1, $2"
            " from generate_series(1, $3) returning id",
            *(project, status, number),
        )
        for status, number in (("failed", 30), ("active", 1))
    ]
    others = [await new_session(pool, f"App {n}") for n in range(3)]
    sessions = [*(row["id"] for row in kept), *[open_one[0]["id"]] * 2, *others]
    await pool.execute(
        "insert into coding_jobs (session_id, prompt, status, completed_at)"
        " select id, 'an app', 'failed', now() + make_interval(secs => n)"
        " from unnest($1::uuid[]) with ordinality as s (id, n)",
        sessions,
    )
    revived = []
    while batch := await queue.retry_all_dead(4):
        revived += [(await queue.get(job)).session_id for job in batch]
    assert revived == sessions[30:]
    assert (await queue.stats()).failed == 30


async def test_only_a_dead_workers_jobs_are_reclaimed_and_only_from_its_own_machine(
    pool: Pool,
) -> None:
    queue, registry = JobQueue(pool), WorkerRegistry(pool)
    for name in ("w1", "w2"):
        await registry.beat(
            WorkerId(name), host="h", pid=1, version="0", slots=9, machine_key="boot:1"
        )
    first, attempt = await running_job(pool, "w1")
    second, _ = await running_job(pool, "w1")
    other, _ = await running_job(pool, "w2")
    await queue.cancel(second.id)
    assert await Claims(pool).reclaim_worker(W, "boot:2") == []
    assert await Claims(pool).held(W, [attempt]) == [Renewal(first.id, False)]

    assert set(await Claims(pool).reclaim_worker(W, "boot:1")) == {first.id, second.id}
    again, cancelled = await queue.get(first.id), await queue.get(second.id)
    assert (again.status, again.retry_count) == ("pending", 1)
    assert (again.error, again.run_at) == ("The worker was lost.", None)
    assert (cancelled.status, cancelled.error) == ("cancelled", "Cancelled.")
    assert (await queue.get(other.id)).status == "processing"
    event = (await EventLog(pool).read(first.session_id))[-1].data
    assert (event["message"], event["will_retry"]) == ("The worker was lost.", True)
    assert [each.id for each in await registry.of_machine("boot:1")] == ["w2"]
    assert await Claims(pool).reclaim_worker(W, "boot:1") == []


async def test_scheduled_jobs_wait_for_their_time_without_blocking_the_line(pool: Pool) -> None:
    session = await new_session(pool)
    for prompt, priority, delay in (("late", 9, 60), ("soon", 0, 30), ("now", 0, None)):
        await pool.execute(
            "insert into coding_jobs (session_id, prompt, priority, run_at) values"
            " ($1, $2, $3, now() + make_interval(secs => $4))",
            session,
            prompt,
            priority,
            delay,
        )
    assert await _heads(pool) == ["now"]
    ((job, attempt),) = await claimed(pool)
    await finish(pool, attempt)
    assert job.prompt == "now" and await _heads(pool) == ["soon"]
    assert await claimed(pool) == []
    await pool.execute("update coding_jobs set run_at = now() where prompt = 'late'")
    assert [job.prompt for job, _ in await claimed(pool)] == ["late"]
