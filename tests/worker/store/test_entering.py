"""Prompts and events are stored by index and checked in the same way, whichever statement stores them."""

from __future__ import annotations

import time

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.errors import StoreError
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import Prompt
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.sessions import SessionStore
from support.postgres.database import claimed, new_session, running_job
from support.working import finish

ENTER = {
    "one": "select enqueue_job($1, 'a prompt', $2, null, null, gen_random_uuid()::text)",
    "an insert": "insert into coding_jobs (session_id, prompt, priority) values ($1, 'a prompt', $2)",
    "an event": "select append_events($1, array['message'], array[to_jsonb($2::integer)])",
    "a plain event": "insert into session_events (session_id, event_type, data)"
    " values ($1, 'message', to_jsonb($2::integer))",
}
WHOLE_SCANS = """
select coalesce(sum(seq_scan), 0) from pg_stat_xact_user_tables
where relname in ('projects', 'coding_sessions', 'coding_jobs', 'session_events')
"""


@pytest.mark.parametrize("way", ENTER)
async def test_no_table_is_scanned_even_if_its_statistics_say_it_is_empty(
    way: str, pool: Pool
) -> None:
    session = await new_session(pool)
    await pool.execute("vacuum analyze coding_jobs")
    async with pool.acquire() as connection, connection.transaction():
        for priority in range(12):
            await connection.execute(ENTER[way], session, priority)
        assert await connection.fetchval(WHOLE_SCANS) == 0
        await connection.execute("select count(*) from coding_jobs")
        assert await connection.fetchval(WHOLE_SCANS) == 1


@pytest.mark.parametrize("way", ["one", "an event"])
async def test_writes_after_a_prompt_are_still_checked(way: str, pool: Pool) -> None:
    session, other = await new_session(pool), await new_session(pool, "Other")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(ENTER[way], session, 1)
        with pytest.raises(asyncpg.CheckViolationError, match="leave it out"):
            async with connection.transaction():
                await connection.execute(
                    "insert into session_events (session_id, seq, user_id, event_type)"
                    " select id, 99, user_id, 'message' from coding_sessions where id = $1",
                    session,
                )
        await connection.execute(ENTER["an insert"], other, 0)
        assert await connection.fetchval("select count(*) from coding_jobs where is_head") == (
            1 if way == "an event" else 2
        )
    stats = await JobQueue(pool).stats()
    assert stats.pending == await pool.fetchval("select count(*) from coding_jobs")


async def test_writes_after_a_refused_prompt_are_still_checked(pool: Pool) -> None:
    session = await new_session(pool)
    async with pool.acquire() as connection, connection.transaction():
        with pytest.raises(asyncpg.CheckViolationError):
            async with connection.transaction():
                await connection.execute("select enqueue_job($1, ' ')", session)
        await connection.execute(ENTER["an insert"], session, 0)
        with pytest.raises(asyncpg.CheckViolationError, match="leave it out"):
            await connection.execute(
                "insert into session_events (session_id, seq, user_id, event_type)"
                " select id, 99, user_id, 'message' from coding_sessions where id = $1",
                session,
            )
    assert (await JobQueue(pool).stats()).pending == 0


async def test_an_event_must_be_in_its_jobs_session(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    other, log = await new_session(pool, "Other"), EventLog(pool)
    for more in ({"attempt": attempt}, {"job_id": job.id}):
        with pytest.raises(StoreError, match="another session"):
            await log.append(other, [Message("strange")], **more)
        await log.append(job.session_id, [Message("own")], **more)
    assert await log.read(other) == []


async def test_ids_contain_their_creation_time(pool: Pool) -> None:
    """Postgres 18 has a function for them; older versions use ours."""
    before = time.time()
    ids = [await pool.fetchval("select private.uuid7()") for _ in range(300)]
    assert len(set(ids)) == 300
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    moments = [(one.int >> 80) / 1000 for one in ids]
    assert moments == sorted(moments)
    assert before - 0.1 <= moments[0] and moments[-1] <= time.time() + 0.1


@pytest.mark.parametrize("way", ["one", "an insert"])
async def test_a_prompt_reopens_its_session_and_takes_its_place_in_line(
    way: str, pool: Pool
) -> None:
    session = await new_session(pool)
    later = (
        "insert into coding_jobs (session_id, prompt, run_at) values ($1, 'later', now() + '1 h')"
    )
    await pool.execute(later, session)
    await pool.execute("update coding_sessions set status = 'expired', expires_at = now()")
    for priority in (3, 1, 7, 7):
        await pool.execute(ENTER[way], session, priority)
        assert (await SessionStore(pool).get(session)).status == "active"
    heads = await pool.fetch("select priority, prompt from coding_jobs where is_head")
    assert [tuple(row) for row in heads] == [(7, "a prompt")]
    first = await pool.fetchval(
        "select id from coding_jobs where priority = 7 order by created_at limit 1"
    )
    assert await pool.fetchval("select id from claim_next_job()") == first


async def test_a_scheduled_job_is_the_head_if_all_jobs_before_it_are_done(pool: Pool) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    await queue.enqueue(session, Prompt("now"))
    ((_, attempt),) = await claimed(pool)
    later = (
        "insert into coding_jobs (session_id, prompt, run_at) values ($1, 'later', now() + '1 h')"
    )
    await pool.execute(later, session)
    await finish(pool, attempt)
    assert await claimed(pool) == []
    assert await pool.fetchval("select prompt from coding_jobs where is_head") == "later"
