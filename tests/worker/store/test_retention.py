"""Expiry frees a slot and loses no data. Old rows are deleted in batches, never if they are still needed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import Denied
from mobvibe_worker.events import Message, Thinking
from mobvibe_worker.jobs import LOCAL_OWNER, JobId, ProjectId, Prompt, SessionId
from mobvibe_worker.revisions import FileTree, Revision
from mobvibe_worker.runner.retention import Retention, RetentionTimings
from mobvibe_worker.store.claims import Claims, FinishedWork
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.retention import RetentionStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from support.polling import within
from support.postgres.database import GREEN, claimed, new_session, running_job

DAY = timedelta(days=1)
TEMPLATE = {"App.tsx": b"export default 1"}


async def _time_passes(pool: Pool, session: SessionId, age: str = "1 minute") -> None:
    await pool.execute(
        "update coding_sessions set expires_at = now() - $2::text::interval where id = $1",
        *(session, age),
    )


async def _status(pool: Pool, session: SessionId) -> str:
    return (await SessionStore(pool).get(session)).status


async def _finished_job(pool: Pool, age: str = "0") -> tuple[JobId, SessionId]:
    """Create a job that completed `age` ago with a revision."""
    job, attempt = await running_job(pool)
    base = await RevisionStore(pool).commit_template(attempt, TEMPLATE)
    work = FinishedWork({"App.tsx": b"export default 2"}, base.id, GREEN)
    await Claims(pool).complete(attempt, work)
    await pool.execute(
        "update coding_jobs set completed_at = now() - $2::text::interval where id = $1",
        *(job.id, age),
    )
    return job.id, job.session_id


async def _head(pool: Pool, project: ProjectId) -> tuple[Revision, FileTree]:
    head = await RevisionStore(pool).head(project)
    assert head is not None
    return head


async def test_only_sessions_without_live_jobs_expire_and_a_prompt_reopens_them(
    pool: Pool,
) -> None:
    queue, retention = JobQueue(pool), RetentionStore(pool)
    idle, waiting, running, young = [await new_session(pool, f"App {n}") for n in range(4)]
    await queue.enqueue(running, Prompt("runs"))
    ((_, attempt),) = await claimed(pool)
    await queue.enqueue(waiting, Prompt("waits"))
    for session in (idle, waiting, running):
        await _time_passes(pool, session)

    assert await retention.expire_sessions() == 1
    assert await retention.expire_sessions() == 0
    assert [await _status(pool, each) for each in (idle, waiting, running, young)] == [
        *("expired", "active", "active", "pending"),
    ]
    await Claims(pool).fail(attempt, "no", retry=False)
    await pool.execute("update coding_sessions set status = 'active' where id = $1", running)
    assert await retention.expire_sessions() == 1

    await queue.enqueue(idle, Prompt("one more thing"))
    assert await _status(pool, idle) == "active"
    assert await retention.expire_sessions() == 0


async def test_prompts_during_expiry_leave_no_live_job_in_an_expired_session(
    pool: Pool,
) -> None:
    queue, retention = JobQueue(pool), RetentionStore(pool)
    sessions = [await new_session(pool, f"App {n}") for n in range(30)]
    for session in sessions:
        await _time_passes(pool, session)
    await asyncio.gather(
        *(queue.enqueue(session, Prompt("go on")) for session in sessions),
        *(retention.expire_sessions(7) for _ in range(10)),
    )
    assert {await _status(pool, session) for session in sessions} == {"active"}


async def test_expiry_skips_a_session_that_is_being_reopened_without_waiting(pool: Pool) -> None:
    session = await new_session(pool)
    await _time_passes(pool, session)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select public.enqueue_job($1, 'go on')", session)
        async with within(5):
            assert await RetentionStore(pool).expire_sessions() == 0
    assert await _status(pool, session) == "active"


async def test_only_one_retention_task_runs_at_a_time(pool: Pool) -> None:
    retention = RetentionStore(pool)
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval("select public.expire_sessions()") == 0
        assert await retention.expire_sessions() is None
        assert await retention.forget_jobs(DAY) is None
        assert await retention.forget_workers(DAY) is None
        assert await retention.forget_events(DAY) is None
    assert await retention.forget_jobs(DAY) == 0


async def test_the_oldest_events_are_deleted_first_and_numbering_continues(pool: Pool) -> None:
    log, retention = EventLog(pool), RetentionStore(pool)
    old, live, recent, last = [await new_session(pool, f"App {n}") for n in range(4)]
    for session in (old, live, recent, last):
        await log.append(session, [Thinking(f"{n}", "1") for n in range(10)])
    await JobQueue(pool).enqueue(live, Prompt("waits"))
    for session, age in ((old, "3 days"), (live, "3 days"), (recent, "1 hour"), (last, "2 days")):
        await _time_passes(pool, session, age)

    batch = await retention.forget_events(DAY, limit=4)
    assert batch is not None and (batch.count, batch.next is None) == (4, False)
    assert [event.seq for event in await log.read(old)] == [5, 6, 7, 8, 9, 10]
    place, counts = batch.next, []
    while place is not None:
        batch = await retention.forget_events(DAY, limit=4, after=place)
        assert batch is not None
        counts.append(batch.count)
        place = batch.next
    assert sum(counts) == 16 and max(counts) == 4
    assert [len(await log.read(each)) for each in (old, live, recent, last)] == [0, 11, 10, 0]

    await JobQueue(pool).enqueue(old, Prompt("one more thing"))
    assert [event.seq for event in await log.read(old)] == [11]


async def test_events_are_deleted_across_more_sessions_than_one_call_reads(pool: Pool) -> None:
    first = await new_session(pool)
    await pool.execute(
        "insert into coding_sessions (project_id, user_id, expires_at)"
        " select project_id, user_id, now() - interval '2 days' from coding_sessions,"
        " generate_series(1, 2500) where id = $1",
        first,
    )
    newest = await pool.fetchval(
        "select id from coding_sessions order by expires_at, id desc limit 1"
    )
    await EventLog(pool).append(SessionId(newest), [Message("hello", "person")])
    rounds = Retention(RetentionStore(pool), RetentionTimings(events=DAY))
    await rounds.forget()
    assert await pool.fetchval("select count(*) from session_events") == 0


async def test_only_the_owner_of_the_tables_can_delete_events(database_url: str) -> None:
    async with await open_pool(f"{database_url}?role=service_role", size=1) as served:
        retention = RetentionStore(served)
        with pytest.raises(Denied):
            await retention.forget_events(DAY)
        assert await retention.expire_sessions() == 0
        await Retention(retention, RetentionTimings(events=DAY)).forget()


async def test_old_jobs_are_deleted_without_data_that_is_still_needed(pool: Pool) -> None:
    queue, retention = JobQueue(pool), RetentionStore(pool)
    _, old = await _finished_job(pool, "3 days")
    kept_job, _ = await _finished_job(pool, "1 hour")
    waits = await queue.enqueue(old, Prompt("one more thing"))
    project = (await SessionStore(pool).get(old)).project_id
    revision, files = await _head(pool, project)
    events = await EventLog(pool).read(old)

    assert await retention.forget_jobs(DAY) == 1
    left = {row["id"] for row in await pool.fetch("select id from coding_jobs")}
    assert left == {kept_job, waits}
    assert await _head(pool, project) == (replace(revision, job_id=None), files)
    after = await EventLog(pool).read(old)
    assert [event.data for event in after] == [event.data for event in events]
    assert {event.job_id for event in after} == {None, waits}
    assert (await claimed(pool))[0][0].id == waits


async def test_a_dead_job_that_is_being_retried_is_kept(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    await Claims(pool).fail(attempt, "no", retry=False)
    await pool.execute("update coding_jobs set completed_at = now() - interval '9 days'")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select public.retry_job($1)", job.id)
        assert await RetentionStore(pool).forget_jobs(DAY) == 0
    assert await RetentionStore(pool).forget_jobs(DAY) == 0
    assert (await JobQueue(pool).get(job.id)).status == "pending"


async def test_by_default_jobs_and_events_are_kept_forever(pool: Pool) -> None:
    job, session = await _finished_job(pool, "900 days")
    await _time_passes(pool, session, "900 days")
    await pool.execute(
        "insert into workers (id, host, pid, version, slots, last_heartbeat_at, gone_at) values"
        " ('old', 'h', 1, '1', 1, now() - interval '9 days', null),"
        " ('left', 'h', 1, '1', 1, now() - interval '9 days', now() - interval '9 days'),"
        " ('new', 'h', 1, '1', 1, now(), null)"
    )
    retention = Retention(RetentionStore(pool), RetentionTimings())
    assert await retention.expire() == 1
    await retention.forget()
    assert (await JobQueue(pool).get(job)).status == "completed"
    assert await EventLog(pool).read(session)
    assert [row["id"] for row in await pool.fetch("select id from workers")] == ["new"]
    assert await ProjectStore(pool).create(LOCAL_OWNER, "Another", 54)

    await Retention(RetentionStore(pool), RetentionTimings(events=DAY, jobs=DAY)).forget()
    assert await pool.fetchval("select count(*) from coding_jobs") == 0
    assert await EventLog(pool).read(session) == []
