"""`mobvibe-tui db` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mobvibe_app.postgres.programs import copy_with_dump, libpq_environment
from mobvibe_worker.errors import BranchRefused
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.store.schema.migration_files import migrations_folder
from mobvibe_worker.store.seed import seed
from support.polling import within
from support.terminal import Terminal

OURS = len(list(migrations_folder().glob("*.down.sql")))


@dataclass(frozen=True)
class Finished:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def values(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


async def db(tmp_path: Path, url: str, *arguments: str, stdin: str = "", **env: str) -> Finished:
    """Run `mobvibe-tui db ...` on a database."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mobvibe_app", "db", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=allowed_environment({"DATABASE_URL": url, "MOBVIBE_HOME": str(tmp_path / "h"), **env}),
    )
    async with within(120):
        out, err = await process.communicate(stdin.encode())
    return Finished(process.returncode or 0, out.decode(), err.decode())


async def test_a_database_is_migrated_seeded_verified_reset_and_rolled_back(
    tmp_path: Path, empty_database: str
) -> None:
    up = await db(tmp_path, empty_database, "migrate", "--on-branch", "--json")
    assert up.code == 0, up.err
    states = [value["migration"]["state"] for value in up.values]
    assert states == ["tried on a copy"] * OURS + ["applied"] * OURS

    seeded = await db(tmp_path, empty_database, "seed", "--json")
    assert seeded.values[0]["seeded"]["projects"] == 6
    checked = await db(tmp_path, empty_database, "verify", "--json")
    assert checked.code == 0, checked.err
    assert checked.values[0]["verified"]["differences"] == []

    asked = await db(tmp_path, empty_database, "reset", stdin="reset\n")
    assert asked.code == 2 and "--yes" in asked.err
    connection = await asyncpg.connect(empty_database)
    try:
        assert await connection.fetchval("select count(*) from projects") == 6
        slugs = {row[0] for row in await connection.fetch("select slug from projects")}
        done = await db(tmp_path, empty_database, "reset", "--yes", "--json")
        assert done.code == 0, done.err
        assert await connection.fetchval("select count(*) from projects") == 0
    finally:
        await connection.close()

    exported = done.values[0]["exported"]
    assert set(exported["projects"]) >= slugs and len(exported["projects"]) == 6
    folder = Path(exported["folder"])
    assert folder.parent == tmp_path / "h" / "exports"
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 6
    assert sum(path.is_file() for path in folder.glob("*/**/*")) == exported["files"] > 0

    reseeded = await db(tmp_path, empty_database, "seed", "--json")
    asked = await db(tmp_path, empty_database, "rollback", "--to", "1")
    assert asked.code == 2 and "--yes" in asked.err and "projects" in asked.err
    untouched = await db(tmp_path, empty_database, "seed", "--json")
    assert reseeded.values[0]["seeded"]["projects"] == 6
    assert untouched.values[0]["seeded"]["projects"] == 0
    back = await db(tmp_path, empty_database, "rollback", "--json")
    assert [value["migration"]["version"] for value in back.values] == [OURS]
    state = await db(tmp_path, empty_database, "status", "--json")
    newest = [value["migration"] for value in state.values][OURS - 2 :]
    assert [one["state"] for one in newest] == ["applied", "pending"]
    assert "T" in newest[0]["applied_at"] and newest[1]["applied_at"] is None
    nowhere = await db(tmp_path, empty_database, "rollback", "--to", "12")
    assert nowhere.code == 2 and f"at {OURS - 1}." in nowhere.err
    gone = await db(tmp_path, empty_database, "rollback", "--to", "0", "--yes")
    assert gone.code == 0, gone.err
    assert (await db(tmp_path, empty_database, "migrate")).code == 0
    empty = await db(tmp_path, empty_database, "rollback", "--to", "0")
    assert empty.code == 0, "no rows would be lost, so no confirmation is needed"


async def test_reset_deletes_nothing_if_the_export_fails(tmp_path: Path, database_url: str) -> None:
    await seed(database_url)
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "exports").write_text("in the way")
    failed = await db(tmp_path, database_url, "reset", "--yes")
    assert failed.code == 3 and "Nothing was deleted" in failed.err, failed.err
    assert "--without-export" in failed.err and "rolled back" not in failed.out
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("select count(*) from projects") == 6
        await connection.execute("drop table project_files cascade")
        (tmp_path / "h" / "exports").unlink()
        done = await db(tmp_path, database_url, "reset", "--yes")
        assert done.code == 0, done.err
        assert "not exported: project_files" in done.err and "exported 6 project(s)" in done.out
        assert str(tmp_path / "h" / "exports") in done.out
        assert await connection.fetchval("select count(*) from projects") == 0
        await seed(database_url)
        done = await db(tmp_path, database_url, "reset", "--yes", "--without-export")
        assert done.code == 0 and "exported" not in done.out, done.err
        assert await connection.fetchval("select count(*) from projects") == 0
    finally:
        await connection.close()


async def test_a_copy_that_cannot_be_written_says_why(database_url: str) -> None:
    """psql ends first, and pg_dump may already have written all its output by then."""
    await seed(database_url)
    for _ in range(6):
        with pytest.raises(BranchRefused, match="already exists"):
            await copy_with_dump(database_url, database_url)


@pytest.mark.terminal
def test_reset_asks_for_confirmation_and_accepts_only_its_word(
    tmp_path: Path, database_url: str
) -> None:
    for typed, code in (("yes", 2), ("reset", 0)):
        with Terminal(
            [sys.executable, "-m", "mobvibe_app", "db", "reset"],
            columns=120,
            env=allowed_environment({"DATABASE_URL": database_url, "MOBVIBE_HOME": str(tmp_path)}),
        ) as terminal:
            terminal.wait_for("Type 'reset' to continue")
            assert "rolled back" not in terminal.text
            terminal.type(typed)
            terminal.press("enter")
            assert terminal.wait_for_exit() == code
            assert ("rolled back" in terminal.text) is (code == 0)


async def test_a_database_in_use_can_be_branched(tmp_path: Path, database_url: str) -> None:
    """The server cannot copy a database that has connections, so pg_dump does. No command line shows the password."""
    await db(tmp_path, database_url, "seed")
    held = await asyncpg.connect(database_url)
    try:
        made = await db(tmp_path, database_url, "branch", "busy", "--json")
        assert made.code == 0, made.err
        url = (await db(tmp_path, database_url, "url", "--branch", "busy")).out.strip()
        copy = await asyncpg.connect(url)
        try:
            for query in (
                "select array_agg(p order by id) from projects p",
                "select array_agg(b order by sha256) from project_blobs b",
                "select array_agg(e order by session_id, seq) from session_events e",
                "select array_agg(tablename || policyname order by tablename || policyname) from pg_policies",
                "select array_agg(tablename order by tablename) from pg_publication_tables",
                "select array_agg(version order by version) from mobvibe_migrations.applied",
            ):
                assert await copy.fetchval(query) == await held.fetchval(query), query
        finally:
            await copy.close()
        psql = await db(
            tmp_path,
            database_url,
            "psql",
            "--branch",
            "busy",
            "--",
            "-Atc",
            "select current_database()",
        )
        assert psql.out.strip().endswith("_branch_busy"), psql.err
        shown = "\\! tr '\\0' ' ' < /proc/$PPID/cmdline"
        line = (await db(tmp_path, database_url, "psql", "--", "-Atc", shown)).out
        password = libpq_environment(database_url)["PGPASSWORD"]
        assert "psql" in line and password not in line
        listed = await db(tmp_path, database_url, "branch", "list", "--json")
        assert [value["branch"]["name"] for value in listed.values] == ["busy"]
    finally:
        await held.close()
        dropped = await db(tmp_path, database_url, "branch", "drop", "busy")
    assert dropped.code == 0
    wrong = await db(tmp_path, database_url, "branch", "drop")
    assert wrong.code == 2 and "branch drop NAME" in wrong.err


async def test_contracts_are_checked_and_a_pooler_needs_a_direct_url(
    tmp_path: Path, database_url: str
) -> None:
    assert (await db(tmp_path, database_url, "contracts", "--check")).code == 0
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("alter table profiles add nickname text")
    finally:
        await connection.close()
    behind = await db(tmp_path, database_url, "contracts", "--check")
    assert behind.code == 1 and "is not up to date" in behind.err

    pooler = "postgresql://u:hunter2secret@127.0.0.1:6543/postgres"
    refused = await db(tmp_path, pooler, "migrate")
    assert refused.code == 3 and "DIRECT_URL" in refused.err and "hunter2" not in refused.err
    direct = await db(tmp_path, pooler, "migrate", DIRECT_URL=database_url)
    assert direct.code == 0, direct.err


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (
            "postgresql://us%40er:p%3Aw@[::1]:6000/na%20me?sslmode=require&target=x",
            {"PGHOST": "::1", "PGPORT": "6000", "PGUSER": "us@er", "PGPASSWORD": "p:w"}
            | {"PGDATABASE": "na me", "PGSSLMODE": "require"},
        ),
        ("postgresql://h/d", {"PGHOST": "h", "PGPORT": "5432", "PGDATABASE": "d"}),
    ],
)
def test_an_address_becomes_libpq_variables(dsn: str, expected: dict[str, str]) -> None:
    assert libpq_environment(dsn) == expected
