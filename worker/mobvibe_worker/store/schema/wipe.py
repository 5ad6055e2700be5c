"""Removes what applied migrations made, also the objects of migrations that were changed since."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.schema.migration_files import MigrationFile

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


async def find_tables(connection: asyncpg.Connection, files: Sequence[MigrationFile]) -> list[str]:
    """The tables of these migrations that exist, as `public.NAME` or `private.NAME`."""
    is_ours = await connection.fetchval(_PRIVATE_IS_OURS)
    return [
        table
        for table in sorted(frozenset[str]().union(*(file.tables for file in files)))
        if (is_ours or not table.startswith("private."))
        and await connection.fetchval("select to_regclass($1)", table)
    ]


async def wipe(connection: asyncpg.Connection, files: Sequence[MigrationFile]) -> None:
    """Drop what these migrations made, and their history, inside the caller's transaction.

    Raises what asyncpg raises, also if something of another owner depends on what would be dropped.
    """
    tables = await find_tables(connection, files)
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
