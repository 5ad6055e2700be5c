"""Removes what applied migrations made, also if they were changed since."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from mobvibe_worker.errors import MigrationFailed
from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.failures import is_lost
from mobvibe_worker.store.schema.migration_files import MigrationFile
from mobvibe_worker.store.schema.migrations import Applied, MigrationRunner, history

OnLocked: TypeAlias = Callable[[asyncpg.Connection, list[str]], Awaitable[None]]
_IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

# A home from before the first release may still have these; some return rows of our tables.
_RETIRED_FUNCTIONS = frozenset({"complete_jobs", "enqueue_jobs", "finish_and_claim"})
_PRIVATE_IS_OURS = """
select coalesce(
  pg_catalog.obj_description(to_regnamespace('private'), 'pg_namespace') like '%mobvibe%'
    or to_regprocedure('private.touch_updated_at()') is not null
      and to_regprocedure('private.uuid7()') is not null,
  false
)
"""
# Functions that take or return a row of a table are dropped before the table, as the table cannot go before them.
_FUNCTIONS = """
select p.oid::regprocedure::text, exists (
  select from pg_catalog.pg_depend d
  join pg_catalog.pg_type t on t.oid = d.refobjid
  left join pg_catalog.pg_type item on item.oid = t.typelem
  where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
    and d.refclassid = 'pg_catalog.pg_type'::regclass
    and (t.typrelid = any ($3::text[]::regclass[]) or item.typrelid = any ($3::text[]::regclass[]))
)
from pg_catalog.pg_proc p
where p.pronamespace = 'public'::regnamespace and p.proname = any ($1)
  or $2 and p.pronamespace = to_regnamespace('private')
"""
_SIGN_UP_FUNCTION = "handle_new_user()"
_HAS_ONLY_OUR_TRIGGER = """
select not exists (
  select from pg_catalog.pg_depend d
  left join pg_catalog.pg_trigger t on t.oid = d.objid and d.classid = 'pg_catalog.pg_trigger'::regclass
  where d.refclassid = 'pg_catalog.pg_proc'::regclass and d.refobjid = $1::text::regprocedure
    and (t.tgname = 'on_auth_user_created' and t.tgrelid = to_regclass('auth.users')) is not true
)
"""


async def clear(runner: MigrationRunner, on_locked: OnLocked | None = None) -> list[Applied]:
    """Remove what the recorded migrations made, in one transaction, also if they were changed since.

    `on_locked` gets the connection and our tables that exist once nothing else can change them; if it raises,
    nothing is removed. Returns what was removed, the newest first; without a recorded migration, nothing.
    Raises MigrationFailed, MigrationRefused, SchemaTooNew, DatabaseUnreachable.
    """
    started = time.monotonic()
    async with _tables_locked(runner) as (connection, tables, applied):
        if not applied:
            return []
        if on_locked:
            await on_locked(connection, tables)
        await _wipe(connection, runner.recorded_files(applied))
    took = round((time.monotonic() - started) * 1000)
    return [Applied(row["version"], row["name"], took) for row in reversed(applied)]


async def read_locked(runner: MigrationRunner, on_locked: OnLocked) -> None:
    """Await `on_locked` as `clear` does, and remove nothing. Raises what `clear` raises."""
    async with _tables_locked(runner) as (connection, tables, applied):
        if applied:
            await on_locked(connection, tables)


@asynccontextmanager
async def _tables_locked(
    runner: MigrationRunner,
) -> AsyncIterator[tuple[asyncpg.Connection, list[str], list[asyncpg.Record]]]:
    """A transaction in which only this connection can use our tables, these tables, and the history."""
    async with runner.locked() as connection:
        applied = await history(connection)
        try:
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '5s'")
                if tables := await _find_tables(connection, runner.recorded_files(applied)):
                    await connection.execute(
                        f"lock table {', '.join(tables)} in access exclusive mode"
                    )
                yield connection, tables, applied
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            raise _not_emptied(error) from error


async def _find_tables(connection: asyncpg.Connection, files: Sequence[MigrationFile]) -> list[str]:
    """The tables of these migrations that exist, as `public.NAME` or `private.NAME`."""
    is_ours = await connection.fetchval(_PRIVATE_IS_OURS)
    return [
        table
        for table in sorted(frozenset[str]().union(*(file.tables for file in files)))
        if (is_ours or not table.startswith("private."))
        and await connection.fetchval("select to_regclass($1)", table)
    ]


async def _wipe(connection: asyncpg.Connection, files: Sequence[MigrationFile]) -> None:
    """Drop what these migrations made, and their history, inside the caller's transaction.

    Raises what asyncpg raises, also if something of another owner depends on what would be dropped.
    """
    tables = await _find_tables(connection, files)
    has_private = any(file.version == 1 for file in files) and await connection.fetchval(
        _PRIVATE_IS_OURS
    )
    names = _RETIRED_FUNCTIONS.union(*(file.functions for file in files))
    functions = await connection.fetch(_FUNCTIONS, sorted(names), has_private, tables)
    for function, takes_rows in functions:
        if takes_rows:
            await connection.execute(f"drop routine {function}")
    if tables:
        await connection.execute(f"drop table {', '.join(tables)}")
    for function, takes_rows in functions:
        if not takes_rows:
            await _drop(connection, function)
    if has_private:
        await connection.execute("drop schema private")
    if await connection.fetchval("select to_regclass('auth.users')"):
        await connection.execute("delete from auth.users where id = $1", LOCAL_OWNER)
    for file in sorted(files, key=lambda file: file.version, reverse=True):
        for block in file.host_cleanup:
            await connection.execute(block)
    await connection.execute("drop table mobvibe_migrations.applied")
    await connection.execute("drop schema mobvibe_migrations")


async def _drop(connection: asyncpg.Connection, function: str) -> None:
    # On Supabase another role owns auth.users, and only a table's owner may drop a trigger by name.
    is_cascading = function == _SIGN_UP_FUNCTION and await connection.fetchval(
        _HAS_ONLY_OUR_TRIGGER, function
    )
    await connection.execute(f"drop routine {function}{' cascade' if is_cascading else ''}")


def _not_emptied(error: asyncpg.PostgresError) -> MigrationFailed:
    if isinstance(error, _IN_USE):
        return MigrationFailed(
            "The database cannot be emptied while another program is using it.",
            "Nothing was deleted. Close that program, then try again.",
        )
    # The detail names what depends on ours, one a line.
    reason = "; ".join(str(error.detail or error.args[0]).splitlines()).rstrip(".")
    return MigrationFailed(
        f"The database cannot be emptied: {reason}.",
        "Nothing was deleted. Remove what is in the way, or use another database.",
    )
