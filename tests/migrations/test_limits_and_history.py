"""The database enforces the limit of open sessions and the immutable history for every role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from asyncpg import Pool

from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.pool import open_pool
from support.postgres.kinds import PreparedDatabase
from support.postgres.tenants import ANN, outcome, row_of, seed, speaking_as

Isolation = Literal["read_committed", "repeatable_read"]
LIMIT = r"the limit of 3 open sessions is reached"
OPEN = "status in ('pending', 'active', 'paused') and expires_at > now()"
NEW = "insert into public.coding_sessions (user_id, project_id) values ($1, $2) returning id"


@pytest_asyncio.fixture
async def owners_pool(migrated: PreparedDatabase) -> AsyncIterator[Pool]:
    """A pool of the schema's owner, in a database where Ann has one session, one job and one event."""
    administrator = await asyncpg.connect(migrated.administrator_url)
    await seed(administrator, ANN, "ann@example.com")
    await administrator.close()
    pool = await open_pool(migrated.url, size=10)
    yield pool
    await pool.close()


async def _open_session(pool: Pool, isolation: Isolation, person: UUID, project: UUID) -> str:
    async with pool.acquire() as connection:
        try:
            async with connection.transaction(isolation=isolation):
                await connection.execute(
                    "select set_config('role', 'authenticated', true),"
                    " set_config('request.jwt.claims', json_build_object('sub', $1::text)::text, true)",
                    str(person),
                )
                await connection.fetchval(NEW, person, project)
        except asyncpg.PostgresError as error:
            return str(error.sqlstate)
    return "made"


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_three_of_ten_sessions_opened_at_once_succeed(
    owners_pool: Pool, isolation: Isolation
) -> None:
    await owners_pool.execute("delete from public.coding_sessions where user_id = $1", ANN)
    project = row_of(ANN, 1)
    results: list[str] = []
    while len(results) < 10 or results.count("made") < 3:
        results += await asyncio.gather(
            *(_open_session(owners_pool, isolation, ANN, project) for _ in range(10))
        )
        assert set(results) <= {"made", "MV007", "40001"}
    assert results.count("made") == 3
    if isolation == "read_committed":
        assert results.count("MV007") == 7
    count = await owners_pool.fetchval(
        f"select count(*) from public.coding_sessions where user_id = $1 and {OPEN}", ANN
    )
    assert count == 3


async def test_an_ended_session_frees_its_slot_and_reopening_counts_against_the_limit(
    owners_pool: Pool,
) -> None:
    project = row_of(ANN, 1)
    first, second = [await owners_pool.fetchval(NEW, ANN, project) for _ in range(2)]
    with pytest.raises(asyncpg.PostgresError, match=LIMIT) as refused:
        await owners_pool.fetchval(NEW, ANN, project)
    assert refused.value.sqlstate == "MV007" and refused.value.hint

    await owners_pool.execute(
        "update public.coding_sessions set status = 'completed' where id = $1", first
    )
    third = await owners_pool.fetchval(NEW, ANN, project)
    await owners_pool.execute(
        "update public.coding_sessions set expires_at = now() where id = $1", second
    )
    assert await owners_pool.fetchval(NEW, ANN, project)

    later = datetime.now(UTC) + timedelta(hours=1)
    for change, argument in (
        ("status = 'active' where id = $1", first),
        (f"expires_at = '{later}' where id = $1", second),
    ):
        with pytest.raises(asyncpg.PostgresError, match=LIMIT):
            await owners_pool.execute(f"update public.coding_sessions set {change}", argument)
    with pytest.raises(asyncpg.PostgresError, match=LIMIT):
        await owners_pool.execute("select enqueue_job($1, 'revive it')", first)
    await owners_pool.execute(
        "update public.coding_sessions set status = 'paused' where id = $1", third
    )
    await owners_pool.execute(
        "insert into public.coding_sessions (user_id, project_id, status) values ($1, $2, 'failed')",
        *(ANN, project),
    )


async def test_the_local_owner_and_people_without_a_limit_are_not_limited(
    owners_pool: Pool,
) -> None:
    await owners_pool.execute("update public.profiles set sessions_limit = 1 where tier = 'local'")
    project = await owners_pool.fetchval(
        "insert into public.projects (user_id, name) values ($1, 'Mine') returning id", LOCAL_OWNER
    )
    for _ in range(5):
        await owners_pool.fetchval(NEW, LOCAL_OWNER, project)
    await owners_pool.execute("update public.profiles set sessions_limit = null where id = $1", ANN)
    for _ in range(5):
        await owners_pool.fetchval(NEW, ANN, row_of(ANN, 1))


async def test_no_role_can_change_history(migrated: PreparedDatabase, owners_pool: Pool) -> None:
    tricks = (
        "update public.session_events set data = '{}'",
        "update public.session_events set job_id = null",
        "delete from public.session_events",
        "truncate public.session_events",
        "set local mobvibe.forgetting = 'on'; delete from public.session_events",
        "select forgotten from private.forget_events(now() + interval '9 days')",
    )
    async with owners_pool.acquire() as connection:
        for statement in tricks[:4]:
            with pytest.raises(asyncpg.PostgresError, match="events are history") as refused:
                await connection.execute(statement)
            assert refused.value.sqlstate == "MV005"
        for statement in tricks:
            for caller in ("service", "owner", "anon"):
                assert await outcome(connection, caller, statement) == "42501", statement
        # This holds even if a provider grants the service role all rights on the table.
        await connection.execute("grant all on public.session_events to service_role")
        for statement in tricks[:5]:
            assert await outcome(connection, "service", statement) == "MV005", statement


async def test_history_is_deleted_with_its_session_and_forgets_deleted_jobs_and_old_sessions(
    owners_pool: Pool,
) -> None:
    _, session, job, *_ = (row_of(ANN, n) for n in range(1, 7))
    async with owners_pool.acquire() as connection:
        for caller in ("service", "owner"):
            async with speaking_as(connection, caller):
                await connection.execute("delete from public.projects where user_id = $1", ANN)
                await connection.execute("reset role")
                left = await connection.fetchval("select count(*) from public.session_events")
                assert left == 0
        await connection.execute("delete from public.coding_jobs where id = $1", job)
        assert await connection.fetchval(
            "select job_id is null from public.session_events where session_id = $1", session
        )
        await connection.execute(
            "update public.coding_jobs set status = 'cancelled' where status = 'pending'"
        )
        forget = "select forgotten from private.forget_events(now())"
        assert await connection.fetchval(forget) == 0
        await connection.execute(
            "update public.coding_sessions set expires_at = now() - interval '1 hour'"
        )
        assert await connection.fetchval(forget) == 1
        with pytest.raises(asyncpg.PostgresError, match="events are history"):
            await connection.execute(
                "insert into public.session_events (session_id, event_type)"
                f" values ('{session}', 'message'); delete from public.session_events"
            )
