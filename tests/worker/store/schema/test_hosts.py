"""The store's tools work on Postgres 15 and 18, as superuser and as the owner on Neon and Supabase."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from mobvibe_worker.errors import BranchRefused, Denied
from mobvibe_worker.store.connection.pool import check_health, open_pool
from mobvibe_worker.store.connection.user_view import UserView
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.profiles import ProfileStore
from mobvibe_worker.store.schema.branches import Branches
from mobvibe_worker.store.schema.contracts import contracts_file, generate
from mobvibe_worker.store.schema.diagram import document, draw
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.schema.rehearsal import verify
from mobvibe_worker.store.seed import seed
from mobvibe_worker.store.sessions import SessionStore
from support.postgres.clusters import OwnCluster, embedded_18, running
from support.postgres.kinds import PreparedDatabase, prepare


async def test_every_provider_gives_the_same_contracts(migrated: PreparedDatabase) -> None:
    """The files are equal byte for byte, whatever else the database holds."""
    assert await generate(migrated.url) == contracts_file().read_text()
    assert await draw(migrated.url) in document().read_text()


async def test_people_see_their_own_rows_on_every_provider(migrated: PreparedDatabase) -> None:
    assert all((await seed(migrated.url)).values())
    pool = await open_pool(migrated.url)
    try:
        version = (await check_health(pool)).server_version
        assert version.startswith(migrated.kind.rpartition("-")[2])
        profiles = ProfileStore(pool)
        grace = await profiles.person("grace@example.com")
        ada = await profiles.person("ada@example.com")
        view = UserView(pool, grace)
        rows = await SessionStore(view).summaries(grace.id)
        assert len(rows) == 2 and await EventLog(view).read(rows[0].id)
        assert await SessionStore(view).summaries(ada.id) == []
        assert (await JobQueue(view).visible_stats()).completed == 3
        with pytest.raises(Denied):
            await SessionStore(view).set_preview(rows[0].id, None, None, None)
        assert await pool.fetchval("select current_user") == migrated.owner
    finally:
        await pool.close()


async def test_branches_and_rehearsals_work_on_every_provider(migrated: PreparedDatabase) -> None:
    await seed(migrated.url)
    branches = Branches(migrated.url)
    await branches.create("try")
    try:
        states = await MigrationRunner(branches.url("try")).status()
        assert {state.state for state in states} == {"applied"}
    finally:
        await branches.drop("try")
    found = await verify(migrated.url)
    assert found.differences == () and found.has_data


async def test_connections_of_the_provider_are_noticed(migrated: PreparedDatabase) -> None:
    """Postgres hides the details of other roles' connections, but they still block a copy."""
    held = await asyncpg.connect(
        migrated.administrator_url, server_settings={"application_name": "provider"}
    )
    copied: list[str] = []

    async def copy(source: str, target: str) -> None:
        copied.append(target)

    try:
        branches = Branches(migrated.url, copy)
        await branches.create("busy")
        assert copied == [branches.url("busy")]
        await branches.drop("busy")
        with pytest.raises(BranchRefused, match=r"provider \(1\)"):
            await Branches(migrated.url).create("busy")
    finally:
        await held.close()


async def test_an_owner_who_created_the_roles_can_switch_to_them(tmp_path: Path) -> None:
    """Runs as Neon's owner on a new Postgres 18, where no superuser has created the roles."""
    async with running(OwnCluster(embedded_18(), tmp_path, fsync="off")) as server:
        database = await prepare(server, "neon-18")
        await MigrationRunner(database.url).migrate()
        await seed(database.url)
        pool = await open_pool(database.url, size=2)
        try:
            grace = await ProfileStore(pool).person("grace@example.com")
            assert len(await SessionStore(UserView(pool, grace)).summaries(grace.id)) == 2
        finally:
            await pool.close()
        assert (await verify(database.url)).differences == ()
