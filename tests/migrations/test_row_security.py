"""The permissions of every kind of caller for every table and verb, on every kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from mobvibe_worker.store.connection.pool import open_pool
from support.postgres.kinds import PreparedDatabase
from support.postgres.tenants import ANN, BEN, CALLERS, outcome, row_of, seed, speaking_as

DENIED, UNREADABLE = "42501", "22P02"
PROJECT, SESSION, JOB, REVISION, SPARE, _ = (row_of(ANN, n) for n in range(1, 7))


@dataclass(frozen=True, slots=True)
class TableRules:
    """One statement per verb on Ann's rows, and the verbs that she may use herself."""

    owner_may: frozenset[str]
    insert: str
    update: str
    delete: str
    mine: str = f"user_id = '{ANN}'"
    rows: int = 1

    def statements(self, table: str) -> dict[str, str]:
        return {
            "select": f"select * from public.{table} where {self.mine}",
            "insert": f"insert into public.{table} {self.insert}",
            "update": f"update public.{table} set {self.update}",
            "delete": f"delete from public.{table} where {self.delete}",
        }


def _rules(may: str, insert: str, update: str, delete: str, **more: object) -> TableRules:
    return TableRules(frozenset(may.split()), insert, update, delete, **more)  # type: ignore[arg-type]


OF_ANN = f"user_id = '{ANN}'"
TABLES: dict[str, TableRules] = {
    "profiles": _rules(
        "select update",
        "(id) values ('00000000-0000-4000-8000-00000000000c')",
        f"display_name = 'x' where id = '{ANN}'",
        f"id = '{ANN}'",
        mine=f"id = '{ANN}'",
    ),
    "projects": _rules(
        "select insert update delete",
        f"(user_id, name) values ('{ANN}', 'New')",
        f"name = 'x' where {OF_ANN}",
        OF_ANN,
    ),
    "coding_sessions": _rules(
        "select insert update",
        f"(user_id, project_id) values ('{ANN}', '{PROJECT}')",
        f"initial_prompt = 'x' where {OF_ANN}",
        OF_ANN,
    ),
    "coding_jobs": _rules(
        "select",
        f"(session_id, prompt) values ('{SESSION}', 'x')",
        f"priority = 9 where {OF_ANN}",
        OF_ANN,
    ),
    "session_events": _rules(
        "select",
        f"(session_id, event_type) values ('{SESSION}', 'message')",
        f"data = '{{}}' where {OF_ANN}",
        OF_ANN,
    ),
    "project_revisions": _rules(
        "select",
        f"(project_id, user_id, source) values ('{PROJECT}', '{ANN}', 'person')",
        f"attempt = 1 where id = '{SPARE}'",
        f"id = '{SPARE}'",
        rows=2,
    ),
    "project_blobs": _rules(
        "select",
        f"(project_id, user_id, sha256, content) values ('{PROJECT}', '{ANN}', sha256('n'), 'n')",
        f"created_at = now() where {OF_ANN} and content = 'spare'",
        f"{OF_ANN} and content = 'spare'",
        rows=2,
    ),
    "project_files": _rules(
        "select",
        "(revision_id, path, project_id, user_id, sha256)"
        f" values ('{REVISION}', 'b.ts', '{PROJECT}', '{ANN}', sha256('a'))",
        f"path = 'c.ts' where {OF_ANN}",
        OF_ANN,
    ),
    "job_turns": _rules(
        "select",
        "(job_id, attempt, turn, project_id, user_id, model)"
        f" values ('{JOB}', 1, 2, '{PROJECT}', '{ANN}', 'm')",
        f"cost_usd = 0 where {OF_ANN}",
        OF_ANN,
    ),
    "preview_containers": _rules(
        "select",
        "(provider, container_id, session_id, project_id, user_id, metro_url)"
        f" values ('docker', 'new', '{SESSION}', '{PROJECT}', '{ANN}', 'http://127.0.0.1')",
        f"status = 'stopped' where {OF_ANN}",
        OF_ANN,
    ),
    "workers": _rules(
        "",
        "(id, host, pid, version, slots) values ('w2', 'h', 1, '0', 1)",
        "host = 'x'",
        "true",
        mine="true",
    ),
}


def expected(table: str, verb: str, caller: str) -> int | str:
    """The expected number of rows, or the SQLSTATE of the refusal."""
    rules = TABLES[table]
    rows = rules.rows if verb == "select" else 1
    if caller == "service":
        is_history = table == "session_events" and verb in ("update", "delete")
        return DENIED if is_history else rows
    if caller == "anon" or verb not in rules.owner_may:
        return DENIED
    if caller == "broken claims":
        return UNREADABLE
    if caller == "owner":
        return rows
    return DENIED if verb == "insert" else 0


@pytest_asyncio.fixture
async def connection(migrated: PreparedDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the schema's owner, in a database where Ann and Ben have a row in every table."""
    administrator = await asyncpg.connect(migrated.administrator_url)
    for person, email in ((ANN, "ann@example.com"), (BEN, "ben@example.com")):
        await seed(administrator, person, email)
    await administrator.execute(
        "insert into public.workers (id, host, pid, version, slots) values ('w', 'h', 1, '0', 1)"
    )
    await administrator.execute(
        "insert into auth.users (id) values ('00000000-0000-4000-8000-00000000000c');"
        " delete from public.profiles where id = '00000000-0000-4000-8000-00000000000c'"
    )
    await administrator.close()
    opened = await asyncpg.connect(migrated.url)
    yield opened
    await opened.close()


async def test_every_caller_can_use_exactly_the_permitted_verbs_of_each_table(
    connection: asyncpg.Connection,
) -> None:
    tables = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind = 'r' and relname <> 'theirs'"
    )
    assert {row["relname"] for row in tables} == TABLES.keys()
    wrong = []
    for table, rules in TABLES.items():
        for verb, statement in rules.statements(table).items():
            for caller in CALLERS:
                got = await outcome(connection, caller, statement)
                want = expected(table, verb, caller)
                if got != want:
                    wrong.append(f"{table} {verb} as {caller}: {got}, not {want}")
    assert wrong == []


async def test_people_see_only_their_own_rows(connection: asyncpg.Connection) -> None:
    for table, rules in TABLES.items():
        if rules.owner_may:
            for caller in ("owner", "other"):
                got = await outcome(connection, caller, f"select * from public.{table}")
                assert got == rules.rows, f"{table} as {caller}"


async def test_only_the_granted_columns_can_be_changed(connection: asyncpg.Connection) -> None:
    changeable = {
        "profiles": {"display_name"},
        "projects": {"name", "slug", "description", "template_id", "expo_config", "status"},
        "coding_sessions": {"initial_prompt", "status", "platform", "expires_at", "metadata"},
    }
    for table, granted in changeable.items():
        columns = await connection.fetch(
            "select attname from pg_attribute where attrelid = $1::text::regclass"
            " and attnum > 0 and not attisdropped",
            f"public.{table}",
        )
        allowed = set()
        for column in (row["attname"] for row in columns):
            change = f"update public.{table} set {column} = {column}"
            if await outcome(connection, "owner", change) == 1:
                allowed.add(column)
        assert allowed == granted, table


ACROSS = [
    f"insert into public.coding_sessions (user_id, project_id) values ('{BEN}', '{PROJECT}')",
    "insert into public.session_events (session_id, event_type, job_id)"
    f" values ('{row_of(BEN, 2)}', 'message', '{JOB}')",
    "insert into public.project_revisions (project_id, user_id, source)"
    f" values ('{PROJECT}', '{BEN}', 'person')",
    "insert into public.project_revisions (project_id, user_id, source, parent_id)"
    f" values ('{row_of(BEN, 1)}', '{BEN}', 'person', '{REVISION}')",
    f"update public.projects set head_revision_id = '{REVISION}' where id = '{row_of(BEN, 1)}'",
    "insert into public.project_blobs (project_id, user_id, sha256, content)"
    f" values ('{PROJECT}', '{BEN}', sha256('n'), 'n')",
    "insert into public.project_files (revision_id, path, project_id, user_id, sha256)"
    f" values ('{REVISION}', 'x', '{row_of(BEN, 1)}', '{BEN}', sha256('a'))",
    "insert into public.job_turns (job_id, attempt, turn, project_id, user_id, model)"
    f" values ('{JOB}', 1, 3, '{row_of(BEN, 1)}', '{BEN}', 'm')",
    "insert into public.preview_containers"
    " (provider, container_id, session_id, project_id, user_id, metro_url)"
    f" values ('docker', 'x', '{SESSION}', '{row_of(BEN, 1)}', '{BEN}', 'http://127.0.0.1')",
]


async def test_no_row_can_refer_to_another_persons_row(
    connection: asyncpg.Connection,
) -> None:
    """This also holds for the service role and the owner, who bypass the policies."""
    for statement in ACROSS:
        assert await outcome(connection, "service", statement) == "23503", statement
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute(statement)
    async with speaking_as(connection, "service"):
        # A job always gets its session's project and person, even if it names others.
        typed_values = (
            ("", ""),
            ("project_id, ", f"'{PROJECT}', "),
            ("project_id, user_id, ", f"'{PROJECT}', '{ANN}', "),
        )
        for typed, values in typed_values:
            made = await connection.fetchrow(
                f"insert into public.coding_jobs (session_id, {typed}prompt)"
                f" values ('{row_of(BEN, 2)}', {values}'x') returning project_id, user_id"
            )
            assert made is not None and tuple(made) == (row_of(BEN, 1), BEN)


async def test_people_can_call_two_helpers_and_only_the_service_role_the_queue(
    connection: asyncpg.Connection,
) -> None:
    open_to_people = await connection.fetch(
        "select p.oid::regprocedure::text as name, r.rolname from pg_proc p"
        " cross join pg_roles r where r.rolname in ('anon', 'authenticated')"
        " and p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)"
        " and has_function_privilege(r.oid, p.oid, 'execute')"
        " and p.proname <> 'theirs_touch'"
    )
    assert {(row["name"], row["rolname"]) for row in open_to_people} == {
        ("private.uuid7()", "authenticated"),
        ("private.slug_from(text)", "authenticated"),
    }
    assert await outcome(connection, "service", "select * from claim_next_job()") == 1


async def test_no_role_remains_on_a_connection_in_the_pool(migrated: PreparedDatabase) -> None:
    pool = await open_pool(migrated.url, size=1)
    try:
        for caller in CALLERS:
            async with pool.acquire() as borrowed:
                for statement in ("select * from public.projects", "select 1 / 0"):
                    await outcome(borrowed, caller, statement)
            async with pool.acquire() as borrowed:
                assert await borrowed.fetchval("select current_user") == migrated.owner
                claims = await borrowed.fetchval(
                    "select current_setting('request.jwt.claims', true)"
                )
                assert claims in (None, "")
    finally:
        await pool.close()


async def test_no_row_can_refer_to_a_job_of_another_project(
    connection: asyncpg.Connection,
) -> None:
    """The foreign key alone would allow these rows; a trigger refuses them with the same code."""
    project, session = await connection.fetchrow(
        "with made as (insert into public.projects (user_id, name) values ($1, 'Other') returning id)"
        " insert into public.coding_sessions (user_id, project_id) select $1, id from made"
        " returning project_id, id",
        ANN,
    ) or (None, None)
    await connection.execute(
        "insert into public.project_revisions (project_id, source) values ($1, 'person')", project
    )
    for statement in (
        "insert into public.session_events (session_id, event_type, job_id)"
        f" values ('{session}', 'message', '{JOB}')",
        "insert into public.project_revisions (project_id, source, job_id)"
        f" values ('{project}', 'person', '{JOB}')",
        f"update public.project_revisions set job_id = '{JOB}' where project_id = '{project}'",
        "insert into public.job_turns (job_id, attempt, turn, project_id, model)"
        f" values ('{JOB}', 1, 9, '{project}', 'm')",
    ):
        assert await outcome(connection, "service", statement) == "23503", statement
