"""Whole batches: entering the line, completing with the next claim, and what dead workers and dead jobs leave."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import InputError, LeaseLost, NotFound
from mobvibe_worker.jobs import LOCAL_OWNER, Attempt, Job, JobId, SessionId, UserId, WorkerId
from mobvibe_worker.store.claims import Claims, Finished, Renewal, Traded
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue, NewJob
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.workers import WorkerRegistry
from support.polling import within
from support.postgres.database import LEASE, claimed, lose_lease, new_session, running_job

W = WorkerId("w1")


async def _finish_and_claim(pool: Pool, batch: list[Finished], slots: int) -> list[Job]:
    return (await Claims(pool).finish_and_claim(W, batch, slots, LEASE)).jobs


async def _waits_for_a_lock(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock' and query like '%complete_jobs%')"
        )
    )


async def _heads(pool: Pool) -> list[str]:
    rows = await pool.fetch("select prompt from coding_jobs where is_head order by prompt")
    return [row["prompt"] for row in rows]


async def test_many_prompts_enter_in_order_with_their_messages(pool: Pool) -> None:
    queue, one, two = JobQueue(pool), await new_session(pool), await new_session(pool, "Two")
    given = [
        NewJob(one, "a"),
        NewJob(two, "b", priority=1),
        NewJob(one, "c", recording="demo"),
        NewJob(two, "d", priority=5),
    ]
    ids = await queue.enqueue_many(given)
    assert [(await queue.get(each)).prompt for each in ids] == ["a", "b", "c", "d"]
    assert await _heads(pool) == ["a", "d"]
    for session, prompts in ((one, "ac"), (two, "bd")):
        events = await EventLog(pool).read(session)
        assert [(event.seq, event.data["text"]) for event in events] == list(enumerate(prompts, 1))
        assert [event.job_id for event in events] == [ids["abcd".index(each)] for each in prompts]
    more = await queue.enqueue_many(
        [NewJob(one, "urgent", priority=9), NewJob(two, "last")], messages=False
    )
    assert await _heads(pool) == ["d", "urgent"]
    assert len(await EventLog(pool).read(one)) == 2
    assert (await queue.get(more[0])).status == "pending"


async def test_a_key_is_one_job_in_a_batch_and_over_batches(pool: Pool) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    given = [NewJob(session, "a", idempotency_key="k"), NewJob(session, "b"), NewJob(session, "c")]
    first, second, third = await queue.enqueue_many(given)
    again = [NewJob(session, "x", idempotency_key="n"), NewJob(session, "y", idempotency_key="k")]
    new, known, twin = await queue.enqueue_many([*again, NewJob(session, "z", idempotency_key="n")])
    assert known == first and twin == new and len({first, second, third, new}) == 4
    assert await pool.fetchval("select count(*) from coding_jobs") == 4
    assert await _heads(pool) == ["a"]


async def test_a_batch_with_a_stranger_is_refused_whole(pool: Pool) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    with pytest.raises(NotFound):
        await queue.enqueue_many([NewJob(session, "a"), NewJob(SessionId(uuid4()), "b")])
    with pytest.raises(InputError):
        await queue.enqueue_many([NewJob(session, "a"), NewJob(session, " ")])
    await pool.execute("update projects set status = 'deleted'")
    with pytest.raises(NotFound):
        await queue.enqueue_many([NewJob(session, "a")])
    assert await pool.fetchval("select count(*) from coding_jobs") == 0


async def test_finishing_and_claiming_is_one_step_and_each_attempt_is_judged_by_itself(
    pool: Pool,
) -> None:
    queue = JobQueue(pool)
    sessions = [await new_session(pool, name) for name in ("A", "B", "C")]
    await queue.enqueue_many([NewJob(each, f"{n} of {each}") for n in (1, 2) for each in sessions])
    jobs = (await Claims(pool).finish_and_claim(W, [], 3, LEASE)).jobs
    assert [job.session_id for job in jobs] == sessions
    assert jobs[0] == await queue.get(jobs[0].id)
    attempts = [Attempt(job.id, job.attempt, W) for job in jobs]
    await lose_lease(pool, jobs[1])
    await Claims(pool).reclaim()

    finished = [Finished(each, {"n": n}) for n, each in enumerate(attempts)]
    traded = await Claims(pool).finish_and_claim(W, finished, 9, LEASE)
    assert traded.lost == {jobs[1].id} and not traded.busy
    assert {job.id for job in traded.jobs} >= {jobs[1].id} and len(traded.jobs) == 3
    stored = await pool.fetch(
        "select id, result from coding_jobs where status = 'completed' order by created_at"
    )
    assert [tuple(row) for row in stored] == [(jobs[0].id, {"n": 0}), (jobs[2].id, {"n": 2})]
    assert {job.session_id for job in traded.jobs} == set(sessions), (
        "the next ones of A and C, B again"
    )
    # Its answer was lost on the way, so it is sent again: as good as before, for those that it completed.
    assert await Claims(pool).complete_many(W, finished) == [jobs[1].id]
    again = await queue.get(jobs[1].id)
    assert (again.status, again.attempt) == ("processing", 2)
    with pytest.raises(LeaseLost):
        await Claims(pool).fail(attempts[1], "late", retry=True)
    assert await Claims(pool).complete_many(WorkerId("other"), finished[:1]) == [jobs[0].id]
    assert await Claims(pool).complete_many(W, [Finished(Attempt(JobId(uuid4()), 1, W), {})]) != []


async def test_a_job_that_changes_hands_while_its_batch_waits_stays_with_the_new_attempt(
    pool: Pool,
) -> None:
    """What was seen before the wait for the projects' locks is checked after it, also between one worker's attempts."""
    queue = JobQueue(pool)
    kept, kept_attempt = await running_job(pool)
    job, first = await running_job(pool)
    batch = [Finished(kept_attempt, {}), Finished(first, {})]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select from projects where id = $1 for no key update", job.project_id
        )
        finishing = asyncio.create_task(Claims(pool).complete_many(W, batch))
        async with within(10):
            while not await _waits_for_a_lock(pool):
                await connection.execute("select pg_sleep(0.01)")
        await connection.execute(
            "update coding_jobs set attempt = attempt + 1 where id = $1", job.id
        )
    assert await finishing == [job.id]
    assert (await queue.get(kept.id)).status == "completed"
    assert (await queue.get(job.id)).status == "processing"
    second = Attempt(job.id, first.number + 1, W)
    assert await Claims(pool).complete_many(W, [Finished(second, {})]) == []


async def test_finishing_and_claiming_waits_for_no_project_that_somebody_else_holds(
    pool: Pool,
) -> None:
    queue, other = JobQueue(pool), await new_session(pool, "Other")
    (held, held_attempt), (free, free_attempt) = await running_job(pool), await running_job(pool)
    waiting = await queue.enqueue(other, "next")
    batch = [Finished(held_attempt, {}), Finished(free_attempt, {})]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select from projects where id = $1 for no key update", held.project_id
        )
        async with within(5):
            traded = await Claims(pool).finish_and_claim(W, batch, 3, LEASE)
    assert traded.busy == {held.id} and not traded.lost
    assert [job.id for job in traded.jobs] == [waiting]
    stored = [(await queue.get(each.id)).status for each in (held, free)]
    assert stored == ["processing", "completed"]
    assert await Claims(pool).finish_and_claim(W, batch[:1], 0, LEASE) == Traded([])
    assert (await queue.get(held.id)).status == "completed"


async def test_who_follows_a_finished_job_is_claimed_with_it_only_when_most_urgent(
    pool: Pool,
) -> None:
    queue = JobQueue(pool)
    one, two = await new_session(pool), await new_session(pool, "Two")
    other = await new_session(pool, "Other")
    await queue.enqueue_many([NewJob(one, "1a"), NewJob(two, "2a")])
    taken = await claimed(pool, slots=2)
    await queue.enqueue_many([NewJob(other, "free", priority=1)])
    await queue.enqueue_many([NewJob(one, "1b", priority=2), NewJob(two, "2b")])
    await queue.enqueue_many([NewJob(two, "2c", recording="demo")])
    finished = [Finished(attempt, {}) for _, attempt in taken]
    assert await Claims(pool).finish_and_claim(W, finished, 0, LEASE) == Traded([])
    assert await _heads(pool) == ["1b", "2b", "free"]

    taken = await claimed(pool, slots=3)
    assert [job.prompt for job, _ in taken] == ["1b", "free", "2b"]
    await queue.enqueue_many([NewJob(one, "1c"), NewJob(other, "urgent", priority=5)])
    jobs = await _finish_and_claim(pool, [Finished(each, {}) for _, each in taken], 2)
    assert [job.prompt for job in jobs] == ["urgent", "2c"]
    assert await _heads(pool) == ["1c", "2c", "urgent"]

    await Claims(pool).fail(Attempt(jobs[1].id, jobs[1].attempt, W), "overloaded", retry=True)
    urgent = Finished(Attempt(jobs[0].id, jobs[0].attempt, W), {})
    await queue.enqueue(other, "keyless")
    assert await Claims(pool).finish_and_claim(
        W, [urgent], 9, LEASE, recordings_only=True
    ) == Traded([])
    assert await _heads(pool) == ["1c", "2c", "keyless"]
    jobs = await _finish_and_claim(pool, [], 9)
    assert [job.prompt for job in jobs] == ["1c", "keyless"], "2c waits for its time"


async def test_who_holds_what_is_seen_without_writing(pool: Pool) -> None:
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


async def test_all_dead_jobs_wait_again_and_their_sessions_with_them(pool: Pool) -> None:
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


async def test_one_persons_limit_of_sessions_keeps_nobody_elses_jobs_dead(pool: Pool) -> None:
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


async def test_jobs_that_must_stay_dead_hide_no_others_however_many_they_are(pool: Pool) -> None:
    """The longest dead are a crowded person's, in sessions of their own, and two of a session that is open."""
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


async def test_only_the_dead_workers_jobs_of_its_own_host_are_taken_back(pool: Pool) -> None:
    queue, registry = JobQueue(pool), WorkerRegistry(pool)
    for name in ("w1", "w2"):
        await registry.beat(
            WorkerId(name), host="h", pid=1, version="0", slots=9, host_key="boot:1"
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
    said = (await EventLog(pool).read(first.session_id))[-1].data
    assert (said["message"], said["will_retry"]) == ("The worker was lost.", True)
    assert [each.id for each in await registry.neighbours("boot:1")] == ["w2"]
    assert await Claims(pool).reclaim_worker(W, "boot:1") == []


async def test_scheduled_jobs_wait_their_turn_and_never_hold_up_the_line(pool: Pool) -> None:
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
    await Claims(pool).complete_many(W, [Finished(attempt, {})])
    assert job.prompt == "now" and await _heads(pool) == ["soon"]
    assert await claimed(pool) == []
    await pool.execute("update coding_jobs set run_at = now() where prompt = 'late'")
    assert [job.prompt for job, _ in await claimed(pool)] == ["late"]
