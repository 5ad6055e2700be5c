"""Branches and rehearsals of migrations on a real server, and the reasons for which they are refused."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.errors import BranchRefused, InputError, MigrationFailed, NotFound
from mobvibe_worker.jobs import UserId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.profiles import ProfileStore
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.schema.branches import Branches, with_database
from mobvibe_worker.store.schema.migration_files import migrations_folder
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.schema.rehearsal import rehearse, verify
from mobvibe_worker.store.seed import seed
from mobvibe_worker.store.sessions import SessionStore
from support.postgres.database import new_session


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may add to."""
    return shutil.copytree(migrations_folder(), tmp_path / "migrations")


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_branch_has_the_data_and_is_independent(database_url: str) -> None:
    branches = Branches(database_url)
    await seed(database_url)
    made = await branches.create("try-1")
    assert made.size > 1_000_000
    assert [each.name for each in await branches.list()] == ["try-1"]
    await ask(branches.url("try-1"), "delete from projects")
    assert await ask(branches.url("try-1"), "select count(*) from projects") == 0
    assert await ask(database_url, "select count(*) from projects") == 6
    policies = "select count(*) from pg_policies"
    assert await ask(branches.url("try-1"), policies) == await ask(database_url, policies)
    with pytest.raises(InputError, match="already"):
        await branches.create("try-1")
    held = await asyncpg.connect(branches.url("try-1"))
    await branches.drop("try-1")
    held.terminate()
    assert await branches.list() == []
    with pytest.raises(NotFound, match="no branch 'try-1'"):
        await branches.drop("try-1")


@pytest.mark.parametrize("name", ["list", "drop", "", "9", "A", 'x"; drop database x', "a" * 31])
async def test_invalid_branch_names_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        await Branches("postgresql://nobody@127.0.0.1:1/nothing").create(name)


async def test_only_marked_databases_are_dropped(database_url: str) -> None:
    """A database that merely has the name of a branch is left alone."""
    own = f"{urlsplit(database_url).path.lstrip('/')}_branch_mine"
    await ask(database_url, f"create database {own}")
    try:
        with pytest.raises(NotFound):
            await Branches(database_url).drop("mine")
        assert await ask(with_database(database_url, own), "select 1") == 1
    finally:
        await ask(database_url, f"drop database {own}")


async def test_a_busy_database_is_refused_by_name_or_copied_another_way(
    database_url: str,
) -> None:
    pool = await open_pool(database_url, application_name="mobvibe-tui")
    copied: list[tuple[str, str]] = []

    async def copy(source: str, target: str) -> None:
        copied.append((source, target))

    async def cannot(source: str, target: str) -> None:
        raise BranchRefused("no room")

    begun = asyncio.Event()

    async def never_ends(source: str, target: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    try:
        with pytest.raises(BranchRefused, match=r"mobvibe-tui \(1\)"):
            await Branches(database_url).create("busy")
        with pytest.raises(BranchRefused, match="no room"):
            await Branches(database_url, cannot).create("busy")
        assert await Branches(database_url).list() == []
        stopped = asyncio.create_task(Branches(database_url, never_ends).create("half"))
        await begun.wait()
        stopped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopped
        assert await Branches(database_url).list() == []
        branches = Branches(database_url, copy)
        await branches.create("busy")
        assert copied == [(database_url, branches.url("busy"))]
        await branches.drop("busy")
    finally:
        await pool.close()


async def test_a_refusal_by_the_server_is_quoted(database_url: str) -> None:
    role = f"poor_{urlsplit(database_url).path[-8:]}"
    await ask(database_url, f"create role {role} login password 'p'")
    try:
        parts = urlsplit(database_url)
        poor = database_url.replace(f"{parts.username}:{parts.password}", f"{role}:p")
        with pytest.raises(BranchRefused, match="permission denied") as refused:
            await Branches(poor).create("mine")
        assert "provider" in refused.value.remedy
    finally:
        await ask(database_url, f"drop role {role}")


async def test_verify_finds_objects_that_a_down_file_forgets(
    database_url: str, folder: Path
) -> None:
    await seed(database_url)
    clean = await verify(database_url)
    assert clean.differences == () and clean.has_data
    assert clean.migrations == len(list(folder.glob("*.down.sql"))) and clean.objects > 300

    (folder / "0098_more.sql").write_text(
        "alter table public.profiles add column if not exists nickname text default 'a';\n"
        "alter table public.profiles alter column nickname set default gen_random_uuid()::text;\n"
        "drop policy if exists kept on public.projects;\n"
    )
    (folder / "0098_more.down.sql").write_text("create policy kept on auth.users using (true);\n")
    (folder / "0001_platform.down.sql").write_text(
        (folder / "0001_platform.down.sql").read_text().replace("drop function auth.jwt();", "")
    )
    with pytest.raises(MigrationFailed, match="0001_platform"):
        await verify(database_url, folder)
    assert await Branches(database_url).list() == []
    assert await ask(database_url, "select count(*) from projects") == 6


async def test_verify_names_each_object_that_differs(database_url: str, folder: Path) -> None:
    """The migration creates an index only the first time."""
    (folder / "0098_once.sql").write_text(
        "do $$ begin if to_regnamespace('marker') is null then\n"
        "create schema marker; create index late_idx on public.projects (name); end if; end $$;\n"
    )
    (folder / "0098_once.down.sql").write_text("drop index if exists public.late_idx;\n")
    found = await verify(database_url, folder)
    assert len(found.differences) == 1
    assert found.differences[0].startswith("- index CREATE INDEX late_idx")


async def test_verify_sees_every_kind_of_object(database_url: str, folder: Path) -> None:
    made = {
        "view": "create view public.few as select 1 as one",
        "sequence": "create sequence public.counter",
        "type": "create type public.mood as enum ('calm')",
        "comment on table": "comment on table public.projects is 'An app.'",
        "comment on function": "comment on function public.get_queue_stats() is 'Counts.'",
        "trigger": "create trigger late before update on public.workers"
        " for each row execute function private.touch_updated_at()",
        "policy": "create policy late on public.workers for select using (false)",
        "table": "alter table public.workers force row level security",
    }
    statements = ";\n".join(made.values())
    (folder / "0099_once.sql").write_text(
        "do $$ begin if to_regnamespace('marker') is null then\n"
        f"create schema marker; {statements}; end if; end $$;\n"
    )
    (folder / "0099_once.down.sql").write_text(
        "drop view public.few; drop sequence public.counter; drop type public.mood;\n"
    )
    lost = [line for line in (await verify(database_url, folder)).differences if line[0] == "-"]
    assert [kind for kind in made if not any(line.startswith(f"- {kind} ") for line in lost)] == []


async def test_a_busy_database_is_verified_on_an_empty_one(pool: Pool, database_url: str) -> None:
    found = await verify(database_url)
    assert not found.has_data and "others are connected" in found.why_empty
    assert found.differences == ()


async def test_a_rehearsal_fails_on_the_real_data_and_changes_nothing(
    database_url: str, folder: Path
) -> None:
    await seed(database_url)
    (folder / "0098_strict.sql").write_text(
        "alter table public.profiles alter column email set not null;\n"
    )
    before = await MigrationRunner(database_url, folder).status()
    with pytest.raises(MigrationFailed, match="email"):
        await rehearse(database_url, folder)
    assert await MigrationRunner(database_url, folder).status() == before
    assert await Branches(database_url).list() == []
    (folder / "0098_strict.sql").write_text("alter table public.profiles add nickname text;\n")
    assert [one.version for one in await rehearse(database_url, folder)] == [98]
    assert await MigrationRunner(database_url, folder).status() == before


async def test_without_pending_migrations_no_copy_is_made(pool: Pool, database_url: str) -> None:
    """A copy would be refused, because the pool is connected."""
    assert await rehearse(database_url) == []


async def test_the_seed_data_is_realistic_and_has_no_waiting_jobs(database_url: str) -> None:
    first = await seed(database_url)
    assert all(first.values()) and not any((await seed(database_url)).values())
    pool = await open_pool(database_url)
    try:
        stats = await JobQueue(pool).stats()
        assert (stats.pending, stats.processing) == (0, 0)
        assert stats.completed and stats.failed and stats.cancelled
        grace = await ProfileStore(pool).person("grace@example.com")
        rows = await SessionStore(pool).summaries(UserId(grace.id))
        assert len(rows) == 2
        for row in rows:
            events = await EventLog(pool).read(row.id)
            assert events and all(event.payload is not None for event in events)
        assert all(each.head_revision_id for each in await ProjectStore(pool).list(grace.id))
        assert await new_session(pool)
    finally:
        await pool.close()
