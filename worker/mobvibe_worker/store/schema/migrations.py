"""Applies and rolls back migrations: each file once, in order, under one lock."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import asyncpg

from mobvibe_worker.errors import MigrationFailed, MigrationRefused, SchemaTooNew, SchemaTooOld
from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.failures import is_lost, translated
from mobvibe_worker.store.connection.pool import connect, is_transaction_pooler
from mobvibe_worker.store.schema.migration_files import (
    MigrationFile,
    migrations_folder,
    our_tables,
    read_migrations,
    runs_by_itself,
)

_RESET = "`mobvibe-tui db reset` exports the projects' files, then starts with an empty database."
LOCK_KEY = 0x6D6F6276
LOCK_PATIENCE_SECONDS = 30.0
_HISTORY = """
create schema if not exists mobvibe_migrations;
create table if not exists mobvibe_migrations.applied (
  version integer primary key,
  name text not null,
  sha256 text not null,
  applied_at timestamptz not null default now(),
  execution_ms integer not null,
  applied_by text not null default current_user
);
"""
# What a failed `create index concurrently` leaves behind.
_HALF_MADE = """
select indexrelid::regclass::text as name from pg_catalog.pg_index where not indisvalid order by 1
"""
_DELETES = re.compile(r"\b(?:drop\s+table|drop\s+column|delete\s+from|truncate)\b", re.IGNORECASE)
# The migrations create the local owner, so its row is no loss.
_SPARED = {"profiles": f" where id <> '{LOCAL_OWNER}'"}


@dataclass(frozen=True, slots=True)
class Applied:
    """One migration that was just applied or rolled back."""

    version: int
    name: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration on disk, in the database, or both. `migrate` refuses `changed` and `missing` ones."""

    version: int
    name: str
    state: Literal["applied", "pending", "changed", "missing"]
    applied_at: datetime | None = None


class MigrationRunner:
    """Applies, rolls back and reports the migrations of one database."""

    def __init__(self, dsn: str, folder: Path | None = None) -> None:
        self._dsn = dsn
        self._folder = folder or migrations_folder()

    async def migrate(self) -> list[Applied]:
        """Apply the pending migrations. Programs that do so at once apply each file only once.

        Raises MigrationRefused, SchemaTooNew, MigrationFailed, DatabaseUnreachable.
        """
        files = read_migrations(self._folder)
        async with self.locked() as connection:
            await connection.execute(_HISTORY)
            applied = await history(connection)
            pending = _pending(files, applied)
            return [await _run(connection, file, "up") for file in pending]

    async def rollback(self, to: int) -> list[Applied]:
        """Roll back every migration above version `to`, the newest first. Raises what `migrate` raises."""
        files = {file.version: file for file in read_migrations(self._folder)}
        async with self.locked() as connection:
            await connection.execute(_HISTORY)
            applied = await history(connection)
            steps = [_way_down(files, row) for row in reversed(applied) if row["version"] > to]
            return [await _run(connection, file, "down") for file in steps]

    async def status(self) -> list[MigrationState]:
        """Every migration on disk or in the database, in order. Read-only."""
        files = {file.version: file for file in read_migrations(self._folder)}
        async with self._connected() as connection:
            rows = {row["version"]: row for row in await history(connection)}
        return [_state(files.get(key), rows.get(key)) for key in sorted(files.keys() | rows.keys())]

    async def require_current(self) -> None:
        """Raises SchemaTooOld if a migration is pending, else what `migrate` raises. Read-only."""
        files = read_migrations(self._folder)
        async with self._connected() as connection:
            pending = _pending(files, await history(connection))
        if pending:
            raise SchemaTooOld(f"The database lacks {len(pending)} of {len(files)} migrations.")

    async def tables_at_risk(self, to: int) -> list[str]:
        """The tables whose rows a rollback to version `to` would delete. Raises DatabaseUnreachable."""
        files = read_migrations(self._folder)
        if not any(file.version > to and _DELETES.search(file.down or "") for file in files):
            return []
        async with self._connected() as connection:
            return [
                table
                for table in sorted(our_tables())
                if await connection.fetchval("select to_regclass($1)", f"public.{table}")
                and await connection.fetchval(
                    f"select exists (select from public.{table}{_SPARED.get(table, '')})"
                )
            ]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._dsn, application_name="mobvibe-migrations")
        try:
            with translated():
                yield connection
        finally:
            await _close(connection)

    def recorded_files(self, applied: list[asyncpg.Record]) -> list[MigrationFile]:
        """The files of the recorded versions. Raises SchemaTooNew."""
        files = {file.version: file for file in read_migrations(self._folder)}
        newest = max((row["version"] for row in applied), default=0)
        if newest > max(files):
            raise _too_new(newest, max(files))
        return [files[row["version"]] for row in applied if row["version"] in files]

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection that holds the lock of migrations. Raises MigrationRefused, DatabaseUnreachable."""
        if is_transaction_pooler(self._dsn):
            raise MigrationRefused(
                "Migrations cannot run through a transaction pooler, as their lock needs one connection.",
                "Set DIRECT_URL to the database's direct address (or the session pooler's, port 5432).",
            )
        async with self._connected() as connection:
            deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
            while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):
                if time.monotonic() > deadline:
                    raise MigrationRefused(
                        "Another program has been migrating this database for half a minute.",
                        "Wait until it is done, then try again.",
                    )
                await asyncio.sleep(0.1)
            yield connection


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def history(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """The recorded migrations in order: version, name, sha256, applied_at."""
    if await connection.fetchval("select to_regclass('mobvibe_migrations.applied')") is None:
        return []
    rows: list[asyncpg.Record] = await connection.fetch(
        "select version, name, sha256, applied_at from mobvibe_migrations.applied order by version"
    )
    return rows


def _pending(files: list[MigrationFile], applied: list[asyncpg.Record]) -> list[MigrationFile]:
    """The migrations to apply. Raises SchemaTooNew or MigrationRefused if files and database differ."""
    by_version = {file.version: file for file in files}
    newest = max((row["version"] for row in applied), default=0)
    if newest > files[-1].version:
        raise _too_new(newest, files[-1].version)
    for row in applied:
        file = by_version.get(row["version"])
        if file is None or file.name != row["name"]:
            raise MigrationRefused(
                f"{row['version']:04}_{row['name']}.sql was applied to this database and is missing here.",
                "Install the version of mobvibe-tui that created this database, or use another one."
                f" {_RESET}",
            )
        if file.sha256 != row["sha256"]:
            raise MigrationRefused(
                f"{file.file_name} was changed after it was applied to this database.",
                f"Put the file back as it was, and make the change in a new migration. {_RESET}",
            )
    done = {row["version"] for row in applied}
    pending = [file for file in files if file.version not in done]
    for file in pending:
        if file.version < newest:
            raise MigrationRefused(
                f"{file.file_name} is numbered below {newest:04}, which is applied already.",
                "Give it the next free number.",
            )
    return pending


def _too_new(newest: int, known: int) -> SchemaTooNew:
    return SchemaTooNew(
        f"The database is at migration {newest:04}; this mobvibe-tui knows {known:04}."
    )


def _way_down(files: dict[int, MigrationFile], row: asyncpg.Record) -> MigrationFile:
    file = files.get(row["version"])
    if file is None or file.down is None:
        raise MigrationRefused(
            f"There is no {row['version']:04}_{row['name']}.down.sql, so this cannot be rolled back.",
            "Roll back with the version of mobvibe-tui that applied it.",
        )
    return file


def _state(file: MigrationFile | None, row: asyncpg.Record | None) -> MigrationState:
    if file is None:
        assert row is not None
        return MigrationState(row["version"], row["name"], "missing", row["applied_at"])
    if row is None:
        return MigrationState(file.version, file.name, "pending")
    is_same = file.sha256 == row["sha256"]
    return MigrationState(
        file.version, file.name, "applied" if is_same else "changed", row["applied_at"]
    )


async def _run(
    connection: asyncpg.Connection, file: MigrationFile, direction: Literal["up", "down"]
) -> Applied:
    script = file.text if direction == "up" else file.down or ""
    started = time.monotonic()
    try:
        if runs_by_itself(script):
            await connection.execute(script)
            took = round((time.monotonic() - started) * 1000)
            await _record(connection, file, direction, took)
        else:
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '5s'")
                await connection.execute(script)
                took = round((time.monotonic() - started) * 1000)
                await _record(connection, file, direction, took)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        raise MigrationFailed(
            f"{file.file_name} ({direction}) failed{_place(script, error)}: {str(error).rstrip('.')}.",
            await _what_to_do(connection, script, error),
        ) from error
    return Applied(file.version, file.name, took)


async def _what_to_do(
    connection: asyncpg.Connection, script: str, error: asyncpg.PostgresError
) -> str:
    if isinstance(error, asyncpg.LockNotAvailableError):
        return (
            "Another program is using what it changes; nothing was kept. Close it, then try again."
        )
    if not runs_by_itself(script):
        return "Nothing of it was kept. Correct it, or report it with this line."
    half_made = ", ".join(row["name"] for row in await connection.fetch(_HALF_MADE))
    if half_made:
        return (
            f"It ran outside of a transaction: drop the invalid index {half_made}, then try again."
        )
    return "It ran outside of a transaction: check which part of it was applied, then try again."


async def _record(
    connection: asyncpg.Connection, file: MigrationFile, direction: str, took: int
) -> None:
    if direction == "up":
        await connection.execute(
            "insert into mobvibe_migrations.applied (version, name, sha256, execution_ms)"
            " values ($1, $2, $3, $4)",
            file.version,
            file.name,
            file.sha256,
            took,
        )
    else:
        await connection.execute(
            "delete from mobvibe_migrations.applied where version = $1", file.version
        )


def _place(script: str, error: asyncpg.PostgresError) -> str:
    position = str(getattr(error, "position", None) or "")
    if not position.isdigit():
        return ""
    return f" at line {script.count(chr(10), 0, int(position) - 1) + 1}"
