"""Gives people a row in every table, and runs statements as each kind of caller."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

ANN = UUID("00000000-0000-4000-8000-00000000000a")
BEN = UUID("00000000-0000-4000-8000-00000000000b")

AnyConnection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy[asyncpg.Record]"
CALLERS: dict[str, tuple[str, str]] = {
    "owner": ("authenticated", json.dumps({"sub": str(ANN), "role": "authenticated"})),
    "other": ("authenticated", json.dumps({"sub": str(BEN), "role": "authenticated"})),
    "anon": ("anon", json.dumps({"role": "anon"})),
    "service": ("service_role", json.dumps({"role": "service_role"})),
    "no claims": ("authenticated", ""),
    "broken claims": ("authenticated", '{"sub": '),
}


def row_of(person: UUID, kind: int) -> UUID:
    """The id of a person's project (1), session (2), job (3), revision (4), spare revision (5) or preview (6)."""
    return UUID(int=(person.int & 0xFF) * 256 + kind)


async def seed(connection: asyncpg.Connection, person: UUID, email: str) -> None:
    """Sign a person up and give them one row in every table, plus a spare revision and blob."""
    project, session, job, revision, spare, preview = (row_of(person, n) for n in range(1, 7))
    await connection.execute("insert into auth.users (id, email) values ($1, $2)", person, email)
    await connection.execute(
        "insert into public.projects (id, user_id, name) values ($1, $2, 'App')", project, person
    )
    await connection.execute(
        "insert into public.coding_sessions (id, user_id, project_id, initial_prompt)"
        " values ($1, $2, $3, 'a prompt')",
        *(session, person, project),
    )
    await connection.execute(
        "insert into public.coding_jobs (id, session_id, prompt) values ($1, $2, 'a prompt')",
        *(job, session),
    )
    await connection.execute(
        "insert into public.session_events (session_id, event_type, data, job_id)"
        """ values ($1, 'message', '{"text": "a secret"}', $2)""",
        *(session, job),
    )
    for one in (revision, spare):
        await connection.execute(
            "insert into public.project_revisions (id, project_id, source) values ($1, $2, 'person')",
            *(one, project),
        )
    await connection.execute(
        "insert into public.project_blobs (project_id, sha256, content)"
        " select $1, sha256(c), c from unnest(array['a'::bytea, 'spare']) c",
        project,
    )
    await connection.execute(
        "insert into public.project_files (revision_id, path, project_id, sha256)"
        " values ($1, 'App.tsx', $2, sha256('a'))",
        *(revision, project),
    )
    await connection.execute(
        "update public.projects set head_revision_id = $2 where id = $1", project, revision
    )
    await connection.execute(
        "insert into public.job_turns (job_id, attempt, turn, project_id, model)"
        " values ($1, 1, 1, $2, 'm')",
        *(job, project),
    )
    await connection.execute(
        "insert into public.preview_containers (id, provider, container_id, session_id, metro_url)"
        " values ($1, 'process', $2, $3, 'http://127.0.0.1')",
        *(preview, str(preview), session),
    )


@asynccontextmanager
async def speaking_as(connection: AnyConnection, caller: str) -> AsyncIterator[None]:
    """Run a transaction as this caller, and roll it back at the end."""
    role, claims = CALLERS[caller]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)",
            *(role, claims),
        )
        yield
    finally:
        await transaction.rollback()


async def outcome(connection: AnyConnection, caller: str, statement: str) -> int | str:
    """The number of rows that the statement affects or returns for this caller, or the SQLSTATE of its refusal."""
    async with speaking_as(connection, caller):
        try:
            status = await connection.execute(statement)
        except asyncpg.PostgresError as error:
            return str(error.sqlstate)
    return int(status.rpartition(" ")[2])
