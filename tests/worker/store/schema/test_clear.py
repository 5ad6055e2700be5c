"""Clearing a database drops what the recorded migrations created, and nothing else."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.errors import MigrationFailed, SchemaTooNew, StoreError
from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.schema.fingerprint import fingerprint
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.schema.wipe import clear
from support.polling import within
from support.postgres.database import running_job

# Tables and a trigger of a typical Supabase project.
THEIRS = """
create table public.profiles (id int primary key, motto text);
insert into public.profiles values (1, 'mine');
create table public.projects (id int primary key);
insert into public.projects values (1);
create function public.handle_new_user() returns trigger language plpgsql as 'begin return new; end';
create function public.fail_job(id int) returns int language sql as 'select 1';
create trigger signed_up after insert on public.profiles for each row execute function public.handle_new_user();
"""
THEIR_PRIVATE = """
create schema private;
create table private.notes (note text);
insert into private.notes values ('mine');
create function private.uuid7() returns int language sql as 'select 1';
"""


async def _objects(url: str) -> object:
    connection = await connect(url)
    try:
        return await fingerprint(connection)
    finally:
        await connection.close()


async def _run(url: str, sql: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def test_without_a_history_nothing_is_dropped(empty_database: str) -> None:
    await _run(empty_database, THEIRS + THEIR_PRIVATE)
    before = await _objects(empty_database)
    assert await clear(MigrationRunner(empty_database)) == []
    assert await _objects(empty_database) == before
    await _run(empty_database, "create schema mobvibe_migrations")
    assert await clear(MigrationRunner(empty_database)) == []
    await _run(empty_database, "select 1 / count(*) from private.notes")


async def test_with_version_1_only_its_own_objects_are_dropped(empty_database: str) -> None:
    await _run(empty_database, THEIRS)
    before = await _objects(empty_database)
    runner = MigrationRunner(empty_database)
    with pytest.raises(MigrationFailed, match="0002"):
        await runner.migrate()
    assert [one.version for one in await clear(runner)] == [1]
    assert await _objects(empty_database) == before
    await _run(empty_database, "select 1 / count(*) from public.profiles")


async def test_a_private_schema_that_replaced_ours_is_kept(empty_database: str) -> None:
    await _run(empty_database, THEIRS)
    runner = MigrationRunner(empty_database)
    with pytest.raises(MigrationFailed, match="0002"):
        await runner.migrate()
    await _run(empty_database, f"drop schema private cascade; {THEIR_PRIVATE}")
    assert [one.version for one in await clear(runner)] == [1]
    await _run(empty_database, "select 1 / count(*) from private.notes; select private.uuid7()")


async def test_a_database_with_changed_migrations_is_cleared(pool: Pool, database_url: str) -> None:
    runner, before = MigrationRunner(database_url), await _objects(database_url)
    await running_job(pool)
    await pool.execute(
        "create function public.enqueue_jobs(j coding_jobs) returns int language sql as 'select 1';"
        " create function private.of_old(j coding_jobs[]) returns int language sql as 'select 1';"
        " drop function public.enqueue_job, public.fail_job;"
        " alter publication supabase_realtime drop table coding_jobs;"
        " drop table public.workers;"
        " update mobvibe_migrations.applied set sha256 = 'old', name = 'older' where version = 6"
    )
    gone = await clear(runner)
    assert [one.version for one in gone] == sorted((one.version for one in gone), reverse=True)
    assert {state.state for state in await runner.status()} == {"pending"}
    await runner.migrate()
    assert await _objects(database_url) == before
    assert await pool.fetchval("select count(*) from projects") == 0


@pytest.mark.parametrize(
    "theirs",
    [
        "create view public.theirs as select id from public.projects",
        "create table public.theirs (id int); create trigger theirs after insert on public.theirs"
        " for each row execute function private.touch_updated_at()",
        "create table public.theirs (id int); create trigger theirs after insert on public.theirs"
        " for each row execute function public.handle_new_user()",
        "create trigger theirs after update on auth.users"
        " for each row execute function public.handle_new_user()",
        "create view public.theirs as select * from public.get_queue_stats()",
        "create table public.theirs (id uuid default private.uuid7())",
        "create table public.rows (id int); create policy theirs on public.rows"
        " using (private.first_in_line(null) is null)",
        "create table private.theirs (id int)",
        "create table mobvibe_migrations.theirs (id int)",
        "create table public.theirs (id uuid references auth.users)",
    ],
)
async def test_a_dependent_object_stops_the_deletion_and_nothing_is_lost(
    pool: Pool, database_url: str, theirs: str
) -> None:
    await running_job(pool)
    await pool.execute(f"{theirs}; update mobvibe_migrations.applied set sha256 = 'old'")
    before = await _objects(database_url)
    with pytest.raises(MigrationFailed, match="theirs") as stopped:
        await clear(MigrationRunner(database_url))
    assert "Nothing was deleted" in stopped.value.remedy and "CASCADE" not in str(stopped.value)
    assert await _objects(database_url) == before
    assert await pool.fetchval("select count(*) from projects") == 1


async def test_a_newer_database_is_refused(database_url: str, pool: Pool) -> None:
    await pool.execute(
        "insert into mobvibe_migrations.applied (version, name, sha256, execution_ms)"
        " values (99, 'later', 'x', 1)"
    )
    with pytest.raises(SchemaTooNew):
        await clear(MigrationRunner(database_url))


async def test_nothing_can_be_written_between_the_export_and_the_deletion(
    pool: Pool, database_url: str
) -> None:
    """A write waits for the transaction, so it fails instead of being lost."""
    writing: list[asyncio.Task[object]] = []

    async def on_locked(connection: asyncpg.Connection, tables: list[str]) -> None:
        writing.append(asyncio.create_task(ProjectStore(pool).create(LOCAL_OWNER, "Late", 57)))
        await asyncio.sleep(0.5)
        assert not writing[0].done()
        assert "public.projects" in tables
        assert not await connection.fetchval("select exists (select from projects)")
        with pytest.raises(TimeoutError):
            async with within(0.5):
                await MigrationRunner(database_url).migrate()

    await clear(MigrationRunner(database_url), on_locked)
    with pytest.raises(StoreError, match=r"projects|schema"):
        await writing[0]


async def test_if_the_export_fails_nothing_is_dropped(pool: Pool, database_url: str) -> None:
    async def on_locked(connection: asyncpg.Connection, tables: list[str]) -> None:
        raise ValueError("no room")

    before = await _objects(database_url)
    with pytest.raises(ValueError, match="no room"):
        await clear(MigrationRunner(database_url), on_locked)
    assert await _objects(database_url) == before


async def test_a_database_in_use_is_not_cleared(pool: Pool, database_url: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from projects")
        with pytest.raises(MigrationFailed, match="another program is using it"):
            await clear(MigrationRunner(database_url))
