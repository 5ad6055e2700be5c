"""The pool's limits, health and log, and its behaviour behind a transaction pooler."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.errors import DatabaseUnreachable, MigrationRefused, StoreError
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import LOCAL_OWNER, Prompt
from mobvibe_worker.sanitize import Redactor
from mobvibe_worker.settings import WorkerSettings
from mobvibe_worker.store.connection import query_log
from mobvibe_worker.store.connection.failures import translated
from mobvibe_worker.store.connection.listener import CATCH_UP, Listener
from mobvibe_worker.store.connection.pool import (
    MOST_CONNECTIONS,
    check_health,
    is_transaction_pooler,
    open_pool,
)
from mobvibe_worker.store.connection.pool import SUPABASE_TRANSACTION_PORT as POOLER_PORT
from mobvibe_worker.store.connection.sql import repeatable
from mobvibe_worker.store.connection.user_view import Person, UserView
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.profiles import ProfileStore
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.sessions import SessionStore
from support.polling import patient, until, within
from support.postgres.database import new_session, signed_up

SUPABASE = "postgresql://u:hunter2secret@aws-0-eu.pooler.supabase.com:6543/postgres"


async def test_a_health_check_is_one_round_trip_and_fails_on_a_closed_pool(
    database_url: str,
) -> None:
    pool = await open_pool(database_url)
    health = await check_health(pool)
    assert 0 < health.milliseconds < 5000 and int(health.server_version.split(".")[0]) >= 15
    assert (health.connections, health.most) == (1, MOST_CONNECTIONS)
    await pool.close()
    with pytest.raises(StoreError):
        await check_health(pool)


async def test_twenty_connections_work_at_once_and_the_next_one_gets_an_error(
    database_url: str,
) -> None:
    pool = await open_pool(database_url, command_seconds=0.3)
    try:
        held = [await pool.acquire() for _ in range(MOST_CONNECTIONS)]
        with pytest.raises(DatabaseUnreachable, match="did not answer in time"), translated():
            await pool.acquire(timeout=0.05)
        for connection in held:
            await pool.release(connection)
        with pytest.raises(DatabaseUnreachable, match="did not answer in time"), translated():
            await pool.fetch("select pg_sleep(30)")
        assert await pool.fetchval("select 1") == 1
    finally:
        await pool.close()


async def test_queries_are_logged_without_their_values(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=query_log.__name__)
    pool = await open_pool(database_url, slow_seconds=0.8)
    try:
        await JobQueue(pool).enqueue(await new_session(pool), Prompt("hunter2secret"))
        await repeatable(pool, "select pg_sleep($1), $2::text", 0.9, "hunter2secret")
        with pytest.raises(StoreError):
            await repeatable(pool, "select $1::int / 0", 4)
    finally:
        await pool.close()
    assert "enqueue_job" in caplog.text and "str(13)" in caplog.text
    assert "hunter2secret" not in caplog.text and "advisory_unlock" not in caplog.text
    slow = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(slow) == 1 and slow[0].startswith("slow: 9") and "pg_sleep" in slow[0]
    assert "DivisionByZeroError" in caplog.text


@pytest.mark.parametrize(
    ("dsn", "is_one"),
    [
        (SUPABASE, True),
        ("postgresql://u:p@db.abc.supabase.co:6543/postgres", True),
        ("postgresql://u:p@ep-cool-pooler.eu.aws.neon.tech/db", True),
        ("postgresql://u:p@aws-0-eu.pooler.supabase.com:5432/postgres", False),
        ("postgresql://u:p@db.abc.supabase.co:5432/postgres", False),
        ("postgresql://u:p@127.0.0.1:port/db", False),
    ],
)
def test_poolers_are_recognised_by_their_address(dsn: str, is_one: bool) -> None:
    assert is_transaction_pooler(dsn) is is_one


async def test_migrations_through_a_pooler_are_refused_with_a_reason() -> None:
    for change in (MigrationRunner(SUPABASE).migrate(), MigrationRunner(SUPABASE).rollback(0)):
        with pytest.raises(MigrationRefused, match="transaction pooler") as refused:
            await change
        assert "DIRECT_URL" in refused.value.remedy and "hunter2" not in str(refused.value)


async def test_behind_a_pooler_subscribers_poll() -> None:
    async with within(5), Listener(SUPABASE, poll_seconds=0.02) as listener:
        subscription = listener.subscribe("new_job")
        started = time.monotonic()
        assert [await anext(subscription) for _ in range(3)] == [CATCH_UP] * 3
        assert time.monotonic() - started < patient(2) and not listener.is_connected


def test_direct_url_is_used_for_connections_that_need_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIRECT_URL", "postgresql://u:hunter2secret@db/x")
    assert WorkerSettings().session_url("postgresql://embedded") == "postgresql://embedded"
    monkeypatch.setenv("DATABASE_URL", SUPABASE)
    settings = WorkerSettings()
    assert settings.session_url(SUPABASE) == "postgresql://u:hunter2secret@db/x"
    assert "hunter2secret" not in repr(settings) and "hunter2secret" in settings.secrets()
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p%40ss%2Fword9@db/x")
    assert Redactor(WorkerSettings().secrets())("it is p@ss/word9") == "it is [secret]"


@pytest.fixture
async def pooler_url(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """The test's database through a real PgBouncer in transaction mode, at Supabase's port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("pgbouncer is needed: apt-get install pgbouncer")
        pytest.skip("needs pgbouncer")
    target = urlsplit(database_url)
    (tmp_path / "users.txt").write_text(f'"{target.username}" "{target.password}"\n')
    (tmp_path / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={target.hostname} port={target.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {POOLER_PORT}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {tmp_path / 'users.txt'}\npool_mode = transaction\n"
        "default_pool_size = 3\nlogfile =\n"
    )
    as_person = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
    process = await asyncio.create_subprocess_exec(
        *(as_person if os.geteuid() == 0 else []),
        *(program, str(tmp_path / "pgbouncer.ini")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: process.returncode is not None or _is_open(), 10, "pgbouncer listens")
        if process.returncode is not None:
            pytest.fail(f"pgbouncer ended: is something else at port {POOLER_PORT}?")
        yield database_url.replace(f":{target.port}/", f":{POOLER_PORT}/")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _is_open() -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", POOLER_PORT), 1):
        return True
    return False


async def test_the_store_works_behind_a_real_transaction_pooler(
    pool: Pool, pooler_url: str
) -> None:
    """A pooler loses prepared statements between transactions, so our pool prepares none."""
    session = await new_session(pool)
    ada = await signed_up(pool, "ada@example.com")

    first, second = await asyncpg.connect(pooler_url), await asyncpg.connect(pooler_url)
    prepared = await first.prepare("select $1::text")
    assert await prepared.fetchval("x") == "x"
    await second.execute("begin")  # Takes the only server connection that knows the statement.
    with pytest.raises(asyncpg.PostgresError, match="prepared statement"):
        await prepared.fetchval("x")
    first.terminate()
    second.terminate()

    behind = await open_pool(pooler_url)
    try:
        view = UserView(behind, await ProfileStore(behind).person("ada@example.com"))

        async def work(number: int) -> None:
            await JobQueue(behind).enqueue(session, Prompt(f"prompt {number}"))
            await EventLog(behind).append(session, [Message(str(number))])
            assert await SessionStore(view).summaries(ada.id) == []
            assert await EventLog(behind).read(session)

        await asyncio.gather(*(work(number) for number in range(40)))
        assert (await JobQueue(behind).stats()).pending == 40
    finally:
        await behind.close()


@pytest.mark.parametrize(
    "statement",
    [
        "set role authenticated",
        "select set_config('role', 'service_role', false)",
        "set session authorization anon",
    ],
)
async def test_no_role_remains_for_the_next_user_of_a_connection(
    database_url: str, statement: str
) -> None:
    """asyncpg's reset keeps the role; ours resets it to the login role."""
    pool = await open_pool(database_url, size=1)
    try:
        login = await pool.fetchval("select current_user")
        for source in (pool, UserView(pool, Person(LOCAL_OWNER, "local@mobvibe.invalid"))):
            async with source.acquire() as connection:
                await connection.execute(statement)
            who = await pool.fetch("select current_user union select session_user")
            assert [each[0] for each in who] == [login]
    finally:
        await pool.close()


async def test_only_connections_that_may_have_changed_are_reset(database_url: str) -> None:
    """The store's own statements leave a connection unchanged, but borrowers and failures may not."""
    pool = await open_pool(database_url, size=1)
    connection = await asyncpg.connect(database_url)
    last = "select query from pg_stat_activity where application_name = 'mobvibe'"
    try:
        for source in (pool, UserView(pool, Person(LOCAL_OWNER, "local@mobvibe.invalid"))):
            await repeatable(source, "select 'as found'")
            assert "RESET" not in await connection.fetchval(last)
            with pytest.raises(StoreError):
                await repeatable(source, "select 1 / 0")
            assert "RESET" in await connection.fetchval(last), "a failure may have changed it"
            async with pool.acquire() as borrowed:
                await borrowed.execute("set application_name = 'theirs'")
            assert "RESET ROLE" in await connection.fetchval(last)
    finally:
        await connection.close()
        await pool.close()
