"""The migration runner on a real server migrates, rolls back, runs concurrently and refuses mistakes."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from mobvibe_worker.errors import (
    DatabaseUnreachable,
    MigrationFailed,
    MigrationRefused,
    SchemaTooNew,
    SchemaTooOld,
)
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.schema.migration_files import migrations_folder, read_migrations
from mobvibe_worker.store.schema.migrations import MigrationRunner

FILES = read_migrations(migrations_folder())

_FINGERPRINT = """
select string_agg(line, E'\\n' order by line) from (
  select format('%s.%s %s %s %s', table_schema, table_name, column_name, data_type, column_default) as line
  from information_schema.columns where table_schema in ('public', 'private', 'auth')
  union all
  select pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') from pg_proc p
  where p.pronamespace in ('public'::regnamespace, to_regnamespace('private'), to_regnamespace('auth'))
  union all
  select pg_get_triggerdef(t.oid) from pg_trigger t where not t.tgisinternal
  union all
  select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint where conrelid <> 0
    and connamespace in ('public'::regnamespace, to_regnamespace('auth'))
  union all
  select indexdef from pg_indexes where schemaname in ('public', 'auth')
  union all
  select format('%s %s %s %s', tablename, policyname, cmd, qual) from pg_policies
  union all
  select format('%s %s %s', oid::regclass, relrowsecurity, relacl) from pg_class
  where relnamespace = 'public'::regnamespace and relkind = 'r'
) lines
"""


async def _fingerprint(dsn: str) -> str | None:
    connection = await asyncpg.connect(dsn)
    try:
        found: str | None = await connection.fetchval(_FINGERPRINT)
        return found
    finally:
        await connection.close()


async def test_a_rollback_removes_everything_and_migrating_again_restores_it(
    empty_database: str,
) -> None:
    runner = MigrationRunner(empty_database)
    before = await _fingerprint(empty_database)
    assert [one.version for one in await runner.migrate()] == [file.version for file in FILES]
    first = await _fingerprint(empty_database)
    assert await runner.migrate() == []
    assert {state.state for state in await runner.status()} == {"applied"}

    rolled_back = await runner.rollback(0)
    assert [one.version for one in rolled_back] == [file.version for file in reversed(FILES)]
    assert await _fingerprint(empty_database) == before
    with pytest.raises(SchemaTooOld):
        await runner.require_current()

    await runner.migrate()
    await runner.require_current()
    assert await _fingerprint(empty_database) == first
    await runner.rollback(5)
    assert [state.state for state in await runner.status()][4:6] == ["applied", "pending"]


async def test_eight_runners_at_once_apply_each_file_once(empty_database: str) -> None:
    runs = await asyncio.gather(*(MigrationRunner(empty_database).migrate() for _ in range(8)))
    assert sorted(one.version for run in runs for one in run) == [file.version for file in FILES]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may change."""
    return shutil.copytree(migrations_folder(), tmp_path / "migrations")


async def test_files_that_disagree_with_the_database_are_refused_by_name(
    database_url: str, folder: Path
) -> None:
    async def refusal(kind: type[Exception], runner: MigrationRunner) -> str:
        with pytest.raises(kind) as raised:
            await runner.migrate()
        return str(raised.value)

    runner = MigrationRunner(database_url, folder)
    spoiled = folder / FILES[2].file_name
    text = spoiled.read_text()

    spoiled.write_text(text.replace("\n", "\r\n"))
    assert await runner.migrate() == []

    spoiled.write_text(text + "select 1;\n")
    assert spoiled.name in await refusal(MigrationRefused, runner)
    assert [state.state for state in await runner.status()][2] == "changed"

    spoiled.unlink()
    (folder / spoiled.name.replace(".sql", ".down.sql")).unlink()
    assert spoiled.name in await refusal(MigrationRefused, runner)
    spoiled.write_text(text)

    late = folder / "0099_second.sql"
    late.write_text("create table second (id int);")
    assert [one.version for one in await runner.migrate()] == [99]
    (folder / "0098_first.sql").write_text("create table first (id int);")
    assert "0098_first.sql" in await refusal(MigrationRefused, runner)

    assert "0099" in await refusal(SchemaTooNew, MigrationRunner(database_url))
    with pytest.raises(MigrationRefused, match=r"0099_second\.down\.sql"):
        await runner.rollback(98)


async def test_a_failing_file_is_rolled_back_and_its_line_named(
    database_url: str, folder: Path
) -> None:
    (folder / "0098_wrong.sql").write_text("create table halfway (id int);\n\nselect nonsense;\n")
    runner = MigrationRunner(database_url, folder)
    with pytest.raises(MigrationFailed, match=r"0098_wrong\.sql .* at line 3: .*nonsense"):
        await runner.migrate()
    assert (await runner.status())[-1].state == "pending"
    assert "halfway" not in str(await _fingerprint(database_url))


async def test_a_migration_does_not_wait_forever_for_a_locked_table(
    database_url: str, folder: Path
) -> None:
    (folder / "0098_wide.sql").write_text("alter table public.projects add wide text;\n")
    holder = await asyncpg.connect(database_url)
    try:
        await holder.execute("begin; lock table public.projects")
        with pytest.raises(MigrationFailed, match="0098_wide") as failed:
            await MigrationRunner(database_url, folder).migrate()
        assert "Another program is using" in failed.value.remedy
    finally:
        await holder.close()
    assert [one.version for one in await MigrationRunner(database_url, folder).migrate()] == [98]


async def test_a_file_may_run_outside_a_transaction_and_its_remains_are_named(
    database_url: str, folder: Path
) -> None:
    """`create index concurrently` needs this, and leaves an invalid index if it fails."""
    alone = "-- mobvibe:no-transaction\n"
    (folder / "0098_tier.sql").write_text(
        f"{alone}create index concurrently tiers_idx on public.profiles (tier, id);\n"
    )
    (folder / "0098_tier.down.sql").write_text(
        f"{alone}drop index concurrently public.tiers_idx;\n"
    )
    runner = MigrationRunner(database_url, folder)
    assert [one.version for one in await runner.migrate()] == [98]
    assert "tiers_idx" in str(await _fingerprint(database_url))
    assert [one.version for one in await runner.rollback(97)] == [98]
    assert "tiers_idx" not in str(await _fingerprint(database_url))

    (folder / "0099_once.sql").write_text(
        f"{alone}create unique index concurrently once_idx on public.profiles ((1));\n"
    )
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("insert into auth.users (email) values ('a@x.org'), ('b@x.org')")
    finally:
        await connection.close()
    with pytest.raises(MigrationFailed, match="0099_once") as failed:
        await runner.migrate()
    assert "invalid index once_idx" in failed.value.remedy
    assert [state.state for state in await runner.status()][-2:] == ["applied", "pending"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace("/empty_", "/no_"), "has no database"),
        (lambda url: url.replace("@", "x@", 1), "does not accept this user and password"),
        (lambda url: url.rpartition(":")[0] + ":1/x", "Nothing listens at"),
        (lambda url: "postgresql://u:hunter2secret@nowhere.invalid/x", "cannot be found"),
        (lambda url: "mysql://u:hunter2secret@127.0.0.1/x", "is not the address"),
        (lambda url: "postgresql://u:hunter2secret@127.0.0.1:port/x", "is not the address"),
    ],
)
async def test_an_unusable_url_is_explained_without_its_secret(
    empty_database: str, change: object, message: str
) -> None:
    assert callable(change)
    url = change(empty_database)
    password = empty_database.split(":")[2].split("@")[0]
    with pytest.raises(DatabaseUnreachable) as raised:
        await open_pool(url)
    assert message in str(raised.value)
    assert raised.value.remedy
    shown = f"{raised.value!r} {raised.value.__cause__!r}"
    assert password not in shown and "hunter2secret" not in shown
