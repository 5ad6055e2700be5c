"""Plain SQL as a developer types it into psql, and the statements that the database refuses."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg import Pool, Record
from asyncpg.pool import PoolConnectionProxy

from mobvibe_worker.jobs import LOCAL_OWNER
from support.postgres.database import RED, new_session


async def _row(source: Pool | PoolConnectionProxy[Record], sql: str, *arguments: object) -> Record:
    row = await source.fetchrow(sql, *arguments)
    assert row is not None
    return row


async def test_the_short_forms_work_as_typed(pool: Pool) -> None:
    session = await new_session(pool)
    for prompt, priority in (("first", 0), ("second", 0), ("urgent", 5)):
        await pool.execute(
            "insert into coding_jobs(session_id, prompt, priority) values ($1, $2, $3)",
            session,
            prompt,
            priority,
        )
    order = []
    while job := await pool.fetchrow("select * from claim_next_job()"):
        assert await pool.fetchval("select count(*) from claim_next_job()") == 0
        order.append(job["prompt"])
        if job["prompt"] == "first":
            assert await pool.fetchval("select fail_job($1, 'why')", job["id"]) is True
            await pool.execute(
                "update coding_jobs set retry_count = 2, run_at = now() where id = $1", job["id"]
            )
            dying = await _row(pool, "select * from claim_next_job()")
            assert dying["id"] == job["id"]
            assert await pool.fetchval("select fail_job($1, 'why')", job["id"]) is False
        else:
            await pool.execute("select complete_job($1)", job["id"])
    assert order == ["urgent", "first", "second"]
    stats = await _row(pool, "select * from get_queue_stats()")
    assert dict(stats) == {
        "pending": 0,
        "processing": 0,
        "completed": 2,
        "failed": 1,
        "cancelled": 0,
        "oldest_pending_seconds": None,
    }

    for seq in (1, 2):
        stored = await _row(
            pool,
            "insert into session_events(session_id, event_type, data) values ($1, 'message', $2)"
            " returning seq, user_id",
            session,
            {"text": "hello"},
        )
        assert tuple(stored) == (seq, LOCAL_OWNER)


async def test_history_is_immutable_until_its_project_is_deleted(pool: Pool) -> None:
    session = await new_session(pool)
    job = await pool.fetchval("select enqueue_job($1, 'a prompt')", session)
    for statement in (
        "update session_events set data = '{}'",
        "delete from session_events",
        "truncate session_events",
    ):
        with pytest.raises(asyncpg.PostgresError, match="events are history"):
            await pool.execute(statement)
    await pool.execute("delete from coding_jobs where id = $1", job)
    assert await pool.fetchval("select count(*) from session_events where job_id is null") == 1
    await pool.execute("delete from projects")
    assert await pool.fetchval("select count(*) from session_events") == 0


async def test_the_table_refuses_a_red_completion(pool: Pool) -> None:
    session = await new_session(pool)
    lying = {"green": True, "checks": [{"name": "types", "is_green": False}]}
    for report in (RED.to_data(), lying):
        with pytest.raises(asyncpg.CheckViolationError, match="completion_is_green"):
            await pool.execute(
                "insert into session_events(session_id, event_type, data) values ($1, 'completion', $2)",
                session,
                {"report": report},
            )
        with pytest.raises(asyncpg.CheckViolationError, match="agent_is_green"):
            await pool.execute(
                "insert into project_revisions(project_id, source, check_report)"
                " select id, 'agent', $1 from projects",
                report,
            )


async def test_no_statement_can_give_a_project_two_running_jobs(pool: Pool) -> None:
    session = await new_session(pool)
    await pool.fetchval("select enqueue_job($1, 'one')", session)
    two = await pool.fetchval("select enqueue_job($1, 'two')", session)
    await pool.execute("select claim_next_job()")
    with pytest.raises(asyncpg.PostgresError):
        await pool.execute(
            "update coding_jobs set status = 'processing', worker = 'me', is_head = true,"
            " lease_expires_at = now() where id = $1",
            two,
        )
    await pool.execute("delete from coding_jobs where status = 'processing'")
    assert await pool.fetchval("select id from claim_next_job()") == two


async def _sign_up(pool: Pool, email: str | None) -> UUID:
    user: UUID = await pool.fetchval(
        "insert into auth.users(id, email) values ($1, $2) returning id", uuid4(), email
    )
    return user


async def test_signing_up_creates_a_profile_with_or_without_an_email(pool: Pool) -> None:
    await pool.execute("alter table auth.users drop constraint users_email_key")
    for email, name, kept in (
        ("ann@example.com", "ann", "ann@example.com"),
        (None, "someone", None),
        ("ann@example.com", "ann", None),
    ):
        user = await _sign_up(pool, email)
        profile = await _row(pool, "select * from profiles where id = $1", user)
        assert (profile["display_name"], profile["email"]) == (name, kept)
        assert (profile["tier"], profile["sessions_limit"]) == ("free", 3)
    local = await _row(pool, "select * from profiles where id = $1", LOCAL_OWNER)
    assert (local["tier"], local["sessions_limit"]) == ("local", None)


async def test_row_security_is_on_for_every_table_and_shows_only_own_rows(pool: Pool) -> None:
    off = await pool.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind = 'r' and not relrowsecurity"
    )
    assert off == []

    session = await new_session(pool)
    await pool.fetchval("select enqueue_job($1, 'mine')", session)
    stranger = await _sign_up(pool, "eve@example.com")
    tables = ["projects", "coding_sessions", "coding_jobs", "session_events"]
    for user, seen in ((LOCAL_OWNER, 1), (stranger, 0)):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "select set_config('role', 'authenticated', true),"
                " set_config('request.jwt.claims', $1, true)",
                json.dumps({"sub": str(user)}),
            )
            counts = [await connection.fetchval(f"select count(*) from {name}") for name in tables]
            assert counts == [seen] * len(tables)
            assert await connection.fetchval("select count(*) from profiles") == 1
            for refused in (
                "update profiles set tier = 'team'",
                "insert into coding_jobs(session_id, prompt) select id, 'x' from coding_sessions",
                "select claim_next_job()",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.execute(refused)
            with pytest.raises(asyncpg.PostgresError):
                async with connection.transaction():
                    await connection.execute(
                        "insert into coding_sessions(project_id, user_id) values ($1, $2)",
                        await pool.fetchval("select id from projects"),
                        stranger,
                    )
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)",
            json.dumps({"sub": str(stranger)}),
        )
        made = await _row(connection, "insert into projects(name) values ('Mine') returning *")
        assert (made["user_id"], made["slug"]) == (stranger, "mine")
        await connection.execute("insert into coding_sessions(project_id) values ($1)", made["id"])
