"""A line of jobs keeps moving despite concurrent deletions and a team's own triggers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from asyncpg import Pool

from mobvibe_worker.jobs import Attempt, Prompt
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.sessions import SessionStore
from support.postgres.database import claimed, new_session
from support.queue.headless import until_row
from support.working import finish

WAITS = (
    "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
)
FOLLOW_UP = """
create function follow_up() returns trigger language plpgsql as $$
begin
  {statement};
  return null;
end
$$;
create trigger follow_up after {event} for each row when ({condition}) execute function follow_up()
"""


async def by_hand(pool: Pool, attempt: Attempt) -> None:
    await pool.execute("select complete_job($1)", attempt.job_id)


@pytest.mark.parametrize("gone", ["coding_jobs", "coding_sessions"])
@pytest.mark.parametrize("complete", [finish, by_hand])
async def test_the_line_keeps_moving_if_the_next_job_is_deleted_during_a_completion(
    complete: Callable[[Pool, Attempt], Coroutine[Any, Any, None]], gone: str, pool: Pool
) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    project = (await SessionStore(pool).get(session)).project_id
    other = await SessionStore(pool).create(project, "of another session")
    await queue.enqueue(session, Prompt("first"))
    second = await queue.enqueue(other, Prompt("second"))
    third = await queue.enqueue(session, Prompt("third"))
    ((_, attempt),) = await claimed(pool)
    async with pool.acquire() as person, person.transaction():
        await person.execute(
            f"delete from {gone} where id = $1", second if gone == "coding_jobs" else other
        )
        completing = asyncio.create_task(complete(pool, attempt))
        await until_row(pool, WAITS, seconds=10)
    await completing
    held = await queue.get(third)
    if held.status == "pending":
        ((held, _),) = await claimed(pool)
    assert held.id == third and held.status == "processing"


async def test_a_job_that_becomes_due_while_its_line_is_busy_is_claimed_once(
    pool: Pool,
) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    await queue.enqueue(session, Prompt("first"))
    ((_, attempt),) = await claimed(pool)
    due = await queue.enqueue(session, Prompt("due now"))
    await pool.execute("update coding_jobs set run_at = now() + '100 ms' where id = $1", due)
    ready = await queue.enqueue(await new_session(pool, "Other"), Prompt("ready"))
    await until_row(
        pool, f"select 1 from coding_jobs where id = '{due}' and run_at < now()", seconds=5
    )
    await finish(pool, attempt)
    assert {job.id for job, _ in await claimed(pool, slots=2)} == {due, ready}


async def count_waiting(pool: Pool) -> int:
    rows = await pool.fetchval("select count(*) from coding_jobs where status = 'pending'")
    assert (await JobQueue(pool).stats()).pending == rows
    return int(rows)


async def test_a_job_enqueued_by_a_teams_trigger_on_an_event_is_counted_and_claimed(
    pool: Pool,
) -> None:
    session = await new_session(pool)
    await pool.execute(
        FOLLOW_UP.format(
            event="insert on session_events",
            condition="new.event_type = 'completion'",
            statement="insert into public.coding_jobs (session_id, prompt) values (new.session_id, 'next')",
        )
    )
    await pool.execute("select append_events($1, '{completion}', array['{}'::jsonb])", session)
    assert await count_waiting(pool) == 1
    assert len(await claimed(pool)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "perform public.enqueue_job(new.session_id, 'next')",
        "insert into public.coding_jobs (session_id, prompt) values (new.session_id, 'next')",
    ],
)
async def test_a_job_enqueued_by_a_teams_trigger_on_completion_is_counted_and_runs_alone(
    statement: str, pool: Pool
) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    await queue.enqueue(session, Prompt("first"))
    await queue.enqueue(session, Prompt("second"))
    ((_, attempt),) = await claimed(pool)
    await pool.execute(
        FOLLOW_UP.format(
            event="update on coding_jobs",
            condition="new.status = 'completed' and new.prompt = 'first'",
            statement=statement,
        )
    )
    await finish(pool, attempt)
    assert len(await claimed(pool, slots=5)) == 1
    assert await count_waiting(pool) == 1


async def test_scheduled_jobs_are_never_searched_among_all_waiting_jobs(pool: Pool) -> None:
    """With statistics of a table without waiting jobs, the planner used to choose the wrong index."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        await connection.execute("drop index coding_jobs_deferred_idx")
        plan = await connection.fetch(
            "explain select from coding_jobs"
            " where starts_with(status, 'pending') and run_at <= statement_timestamp()"
        )
    assert "coding_jobs_waiting_idx" not in str(plan)
