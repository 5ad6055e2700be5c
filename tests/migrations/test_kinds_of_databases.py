"""The same migrations run on every provider, up and down, and leave the provider's objects alone."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.schema.migration_files import migrations_folder, read_migrations
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.schema.wipe import clear
from support.postgres.clusters import OwnCluster
from support.postgres.kinds import PreparedDatabase, prepare
from support.postgres.schema_print import schema_lines

FILES = [file.version for file in read_migrations(migrations_folder())]


async def test_eight_databases_of_one_server_are_migrated_at_once(
    kind: tuple[str, OwnCluster],
) -> None:
    """An existing role is no error. Runs first, because roles belong to the server and remain."""
    name, server = kind
    databases = [await prepare(server, name) for _ in range(8)]
    runs = await asyncio.gather(*(MigrationRunner(one.url).migrate() for one in databases))
    assert [[one.version for one in run] for run in runs] == [FILES] * 8


async def test_migrating_again_changes_nothing_and_a_rollback_restores_the_first_state(
    prepared: PreparedDatabase,
) -> None:
    runner = MigrationRunner(prepared.url)
    before = await schema_lines(prepared.administrator_url)
    assert [one.version for one in await runner.migrate()] == FILES
    first = await schema_lines(prepared.administrator_url)
    assert len(first) > len(before) + 300
    assert await runner.migrate() == []

    await runner.rollback(0)
    assert await schema_lines(prepared.administrator_url) == before
    await runner.migrate()
    assert await schema_lines(prepared.administrator_url) == first

    await clear(runner)
    assert await schema_lines(prepared.administrator_url) == before


@pytest.mark.parametrize(
    "theirs",
    [
        "",
        "create function auth.user_id() returns text language sql as 'select null::text'",
        "create function auth.uid() returns uuid language sql stable as 'select null::uuid'",
        "create table auth.users (id uuid primary key, email text, raw_user_meta_data jsonb,"
        " created_at timestamptz default now())",
    ],
    ids=["nothing", "another function", "uid", "users"],
)
async def test_only_the_missing_parts_of_the_auth_schema_are_created_and_rolled_back(
    server_15: OwnCluster, theirs: str
) -> None:
    database = await prepare(server_15, "plain-15")
    await server_15.run_sql(f"create schema auth; {theirs}", database.name)
    before = await schema_lines(database.url)
    runner = MigrationRunner(database.url)
    await runner.migrate()
    assert set(await schema_lines(database.url)) > set(before)
    await server_15.run_sql(
        f"insert into auth.users (id, email) values ('{uuid4()}', 'ann@example.com')", database.name
    )
    await runner.rollback(0)
    assert await schema_lines(database.url) == before
    await runner.migrate()
    await clear(runner)
    assert await schema_lines(database.url) == before


@pytest.fixture(params=["server_15", "server_18"])
def server(request: pytest.FixtureRequest) -> OwnCluster:
    """Postgres 15 and 18."""
    found: OwnCluster = request.getfixturevalue(request.param)
    return found


async def test_a_publication_for_all_tables_is_kept_and_a_dropped_one_is_no_error(
    server: OwnCluster,
) -> None:
    prepared = await prepare(server, "plain")
    owner = prepared.administrator_url
    await _run(owner, "create publication supabase_realtime for all tables")
    runner = MigrationRunner(prepared.url)
    await runner.migrate()
    await runner.rollback(7)
    assert await _run(owner, "select puballtables from pg_publication")
    await _run(owner, "drop publication supabase_realtime; create publication supabase_realtime")
    await runner.migrate()
    await _run(owner, "alter publication supabase_realtime drop table public.coding_jobs")
    await runner.rollback(7)
    await runner.migrate()
    await _run(owner, "drop publication supabase_realtime")
    await runner.rollback(0)


async def test_people_who_signed_up_before_the_migration_get_a_profile(
    prepared: PreparedDatabase,
) -> None:
    runner = MigrationRunner(prepared.url)
    await runner.migrate()
    await runner.rollback(1)
    # Only Supabase allows a second sign-up with the same email, through single sign-on.
    is_twice = prepared.kind.startswith("supabase")
    again = (
        "insert into auth.users (id, email, created_at, is_sso_user) values ($1, $2, now(), true)"
    )
    ann, nameless = uuid4(), uuid4()
    connection = await asyncpg.connect(prepared.administrator_url)
    try:
        if is_twice:
            await connection.execute(again, uuid4(), "ann@example.com")
        await connection.execute(
            "insert into auth.users (id, email, raw_user_meta_data, created_at) values"
            """ ($1, 'ann@example.com', '{"display_name": "Ann"}', '2020-01-01'), ($2, '', null, now())""",
            *(ann, nameless),
        )
        await runner.migrate()
        rows = await connection.fetch(
            "select id, display_name, email from public.profiles where tier <> 'local'"
        )
    finally:
        await connection.close()
    made = {row["id"]: tuple(row)[1:] for row in rows}
    assert made.pop(ann) == ("Ann", "ann@example.com")
    assert made.pop(nameless) == ("someone", None)
    assert list(made.values()) == [("ann", None)] * is_twice


async def _run(url: str, statements: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        if statements.startswith("select"):
            return await connection.fetchval(statements)
        return await connection.execute(statements)
    finally:
        await connection.close()


async def test_eight_runners_at_once_apply_each_file_once(prepared: PreparedDatabase) -> None:
    runs = await asyncio.gather(*(MigrationRunner(prepared.url).migrate() for _ in range(8)))
    assert sorted(one.version for run in runs for one in run) == FILES


async def test_objects_of_the_provider_are_used_and_missing_ones_created(
    migrated: PreparedDatabase,
) -> None:
    connection = await asyncpg.connect(migrated.administrator_url)
    try:
        ours = await connection.fetchval(
            "select obj_description('auth'::regnamespace, 'pg_namespace') = 'mobvibe-shim'"
        )
        assert bool(ours) is not migrated.kind.startswith("supabase")
        published = await connection.fetch(
            "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
        )
        names = {row["tablename"] for row in published}
        assert names >= {"coding_jobs", "session_events"}
        assert ("theirs" in names) is migrated.kind.startswith("supabase")
        assert (
            await connection.fetchval(
                "select count(*) from pg_roles where rolname in ('anon', 'authenticated', 'service_role')"
            )
            == 3
        )
    finally:
        await connection.close()


async def test_a_sign_up_works_with_and_without_an_email(
    migrated: PreparedDatabase,
) -> None:
    """Signs up as the provider does; Supabase acts as the owner of its auth schema."""
    connection = await asyncpg.connect(migrated.administrator_url)
    try:
        if migrated.kind.startswith("supabase"):
            await connection.execute("set role supabase_auth_admin")
        people = {uuid4(): None, uuid4(): "ann@example.com", uuid4(): ""}
        for user, email in people.items():
            await connection.execute(
                "insert into auth.users (id, email) values ($1, $2)", user, email
            )
        await connection.execute("reset role")
        rows = await connection.fetch(
            "select id, email, display_name, tier, sessions_limit from public.profiles"
        )
    finally:
        await connection.close()
    made = {row["id"]: tuple(row)[1:] for row in rows}
    assert made.pop(LOCAL_OWNER)[2:] == ("local", None)
    shown = {None: "someone", "ann@example.com": "ann", "": "someone"}
    assert made == {
        user: (email or None, shown[email], "free", 3) for user, email in people.items()
    }
