"""The generated row types are stable, match the migrations and agree with an independent generator."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
from pathlib import Path
from typing import NewType, get_args, get_type_hints

import asyncpg
import pytest

from mobvibe_worker import jobs, revisions
from mobvibe_worker.errors import SchemaUnknown
from mobvibe_worker.events import EventType
from mobvibe_worker.store import rules
from mobvibe_worker.store.connection import rows
from mobvibe_worker.store.schema.contracts import USED, camel, contracts_file, generate
from mobvibe_worker.toolchain.node import find_node
from support.cache import locked
from support.polling import patient

ORACLE = "@supabase/postgres-meta@0.99.0"
SERVER = "node_modules/@supabase/postgres-meta/dist/server/server.js"


async def test_the_file_matches_the_migrated_database(database_url: str) -> None:
    generated = await generate(database_url)
    assert generated == await generate(database_url)
    assert contracts_file().read_text() == generated, "run `mobvibe-tui db contracts`"


def test_every_generated_class_is_imported_by_the_code() -> None:
    imported = {
        alias.name
        for file in Path(rows.__file__).parents[2].rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == rows.__name__
        for alias in node.names
    }
    assert set(_shapes(contracts_file().read_text())) == USED == imported


async def test_a_changed_schema_changes_the_contracts(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "alter table profiles add nickname text check (nickname in ('it''s', 'b')),"
            " alter email set not null"
        )
        changed = await generate(database_url)
        await connection.execute("alter table profiles add place point")
    finally:
        await connection.close()
    assert "nickname: ProfilesNickname | None" in changed
    assert 'ProfilesNickname = Literal["it\'s", "b"]' in changed
    assert "    email: str\n" in changed
    assert rows.SCHEMA not in changed
    with pytest.raises(SchemaUnknown, match=r"profiles\.place is of type point"):
        await generate(database_url)


async def test_the_result_of_a_function_has_a_row_type_too(database_url: str) -> None:
    """Postgres does not know which columns may be null, so the function's comment names those that never are."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "create function public.unrelated() returns table (x int)"
            " language sql set search_path = '' as 'select 1'"
        )
        before = _shapes(await generate(database_url, wanted=None))
        await connection.execute(
            "comment on function public.get_queue_stats() is 'Counts. Never null: pending, failed.'"
        )
        after = _shapes(await generate(database_url, wanted=None))
        columns = list(dict((await connection.fetch("select * from get_queue_stats()"))[0]))
    finally:
        await connection.close()
    assert list(before["GetQueueStatsRow"]) == list(after["GetQueueStatsRow"]) == columns
    nullable = [name for name, shape in after["GetQueueStatsRow"].items() if shape[0]]
    assert nullable == [name for name in columns if name not in ("pending", "failed")]
    assert "UnrelatedRow" not in after and "GetQueueStatsInsert" not in after


async def test_a_function_may_return_rows_of_our_tables_only(database_url: str) -> None:
    made = (
        "create function public.claim_jobs(t public.{0}) returns table (x public.{0}) language sql"
    )
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"{made.format('coding_jobs')} set search_path = '' as 'select t'")
        of_ours = await generate(database_url, wanted=None)
        await connection.execute("create table public.theirs (id int)")
        await connection.execute(f"{made.format('theirs')} set search_path = '' as 'select t'")
    finally:
        await connection.close()
    assert _shapes(of_ours)["ClaimJobsRow"] == {"x": (True, False)}
    assert "    x: CodingJobsRow | None\n" in of_ours
    with pytest.raises(SchemaUnknown, match=r"claim_jobs\.x is of type (public\.)?theirs"):
        await generate(database_url, wanted=None)


def test_each_field_of_a_job_is_a_column_of_the_same_type() -> None:
    """A job is read by position, not through its row type."""
    columns = get_type_hints(rows.CodingJobsRow)
    for name, kind in get_type_hints(jobs.Job).items():
        plain = kind.__supertype__ if isinstance(kind, NewType) else kind
        assert columns[name] == plain, name


@pytest.mark.parametrize(
    ("curated", "generated"),
    [
        (jobs.JobStatus, rows.CodingJobsStatus),
        (jobs.SessionStatus, rows.CodingSessionsStatus),
        (jobs.Platform, rows.CodingSessionsPlatform),
        (revisions.RevisionSource, rows.ProjectRevisionsSource),
        (EventType, rows.SessionEventsEventType),
        (rules.ProjectStatus, rows.ProjectsStatus),
        (rules.PreviewStatus, rows.PreviewContainersStatus),
        (rules.Tier, rows.ProfilesTier),
    ],
)
def test_statuses_and_types_in_code_match_those_in_the_database(
    curated: object, generated: object
) -> None:
    assert sorted(get_args(curated)) == sorted(get_args(generated))


def test_the_table_of_previews_accepts_every_provider() -> None:
    assert set(get_args(jobs.Provider)) <= set(get_args(rows.PreviewContainersProvider))


@pytest.fixture(scope="session")
def postgres_meta() -> Path:
    """Supabase's generator, installed into the tests' cache once per machine."""
    node = find_node((20, 0))
    with locked(f"postgres-meta-{ORACLE.rpartition('@')[2]}") as folder:
        if not (folder / SERVER).is_file():
            (folder / "package.json").write_text("{}")
            subprocess.run(
                [
                    *node.npm_argv,
                    "install",
                    "--ignore-scripts",
                    "--no-audit",
                    "--before=2026-11-01",
                    ORACLE,
                ],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=patient(240),
            )
    return folder / SERVER


def _independent_types(database_url: str, postgres_meta: Path) -> str:
    finished = subprocess.run(
        [find_node((20, 0)).executable, postgres_meta],
        env={
            "PATH": os.environ["PATH"],
            "PG_META_DB_URL": database_url,
            "PG_META_GENERATE_TYPES": "python",
            "PG_META_GENERATE_TYPES_INCLUDED_SCHEMAS": "public",
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=patient(120),
    )
    return finished.stdout


async def test_an_independent_generator_agrees(database_url: str, postgres_meta: Path) -> None:
    """Compares names, nullability, and the columns that an insert may omit."""
    theirs = _shapes(await asyncio.to_thread(_independent_types, database_url, postgres_meta))
    ours = _shapes(await generate(database_url, wanted=None))
    tables = sorted(name.removesuffix("Insert") for name in ours if name.endswith("Insert"))
    assert len(tables) == 11 and camel("coding_jobs") in tables
    for table in tables:
        assert ours[f"{table}Row"] == theirs[f"Public{table}"]
        assert ours[f"{table}Insert"] == theirs[f"Public{table}Insert"]
        assert ours[f"{table}Update"].keys() == theirs[f"Public{table}Update"].keys()


def _shapes(source: str) -> dict[str, dict[str, tuple[bool, bool]]]:
    """Class -> field -> (may be null, may be omitted)."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                str(line.target.id): _shape(ast.unparse(line.annotation))
                for line in node.body
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
            }
    return found


def _shape(annotation: str) -> tuple[bool, bool]:
    is_nullable = "Optional[" in annotation or "| None" in annotation
    return is_nullable, annotation.startswith("NotRequired[")
