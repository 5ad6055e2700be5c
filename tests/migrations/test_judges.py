"""External linters find no problem in the schema, and each finds a planted mistake."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg
import pytest

from mobvibe_worker.store.schema.migration_files import migrations_folder
from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.postgres.clusters import OwnCluster
from support.postgres.judges import dblint, plpgsql_findings, squawk
from support.postgres.kinds import PreparedDatabase, prepare


async def _without_theirs(database: PreparedDatabase) -> None:
    await database.server.run_sql(
        "drop table public.theirs; drop function public.theirs_touch();"
        f" alter database {database.name} set pgrst.db_schemas = 'public'",
        database.name,
    )


async def test_supabases_lints_find_nothing(migrated: PreparedDatabase, tmp_path: Path) -> None:
    await _without_theirs(migrated)
    code, output = await dblint(migrated.administrator_url, tmp_path)
    assert (code, "splinter/" in output) == (0, False), output

    await migrated.server.run_sql(
        "create table public.naked (id int primary key);"
        " grant all on public.naked to anon, authenticated;"
        " create index again_idx on public.projects (user_id);"
        " create index once_more_idx on public.projects (user_id)",
        migrated.name,
    )
    code, output = await dblint(migrated.administrator_url, tmp_path)
    assert code != 0
    assert "rlsDisabledInPublic" in output and "duplicateIndex" in output


async def test_squawk_finds_nothing(tmp_path: Path) -> None:
    files = sorted(migrations_folder().glob("*.sql"))
    code, output = await squawk(*files)
    assert code == 0 and f"0 issues in {len(files) // 2} files" in output, output

    planted = tmp_path / "0099_planted.sql"
    planted.write_text(
        "alter table public.projects add column size text not null;"
        " alter table public.projects rename column name to title;\n"
    )
    code, output = await squawk(planted)
    assert code != 0
    assert "adding-required-field" in output and "renaming-column" in output


async def test_plpgsql_check_finds_nothing(server_15: OwnCluster) -> None:
    database = await prepare(server_15, "plain-15")
    await MigrationRunner(database.url).migrate()
    await _without_theirs(database)
    try:
        await server_15.run_sql("create extension plpgsql_check", database.name)
    except asyncpg.FeatureNotSupportedError:
        reason = "plpgsql_check is missing: apt-get install postgresql-15-plpgsql-check"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    assert await plpgsql_findings(database.url) == []

    await server_15.run_sql(
        "create function private.planted() returns trigger language plpgsql set search_path = ''"
        " as $$ begin new.no_such_column := 1; return new; end $$;"
        " create trigger planted before update on public.projects"
        " for each row execute function private.planted()",
        database.name,
    )
    (finding,) = await plpgsql_findings(database.url)
    assert "private.planted() on projects" in finding and "no_such_column" in finding
