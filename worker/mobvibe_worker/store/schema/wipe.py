"""Removes everything the migrations made, also the objects of migrations that were changed since."""

from __future__ import annotations

import asyncpg

from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.schema.migration_files import our_functions, our_tables

# Made by migrations from before the first release.
_RETIRED_FUNCTIONS = frozenset({"complete_jobs", "enqueue_jobs", "finish_and_claim"})
_FUNCTIONS = """
select p.oid::regprocedure::text from pg_catalog.pg_proc p
where p.pronamespace = 'public'::regnamespace and p.proname = any ($1)
"""
# As the ways down of 0001 and 0008: what the host brought stays.
_PLATFORM = f"""
do $$
begin
  if exists (
    select from pg_catalog.pg_publication
    where pubname = 'supabase_realtime'
      and pg_catalog.obj_description(oid, 'pg_publication') = 'mobvibe-shim'
  ) then
    drop publication supabase_realtime;
  end if;
  if to_regclass('auth.users') is not null then
    delete from auth.users where id = '{LOCAL_OWNER}';
  end if;
  if pg_catalog.obj_description(to_regprocedure('auth.uid()'), 'pg_proc') = 'mobvibe-shim' then
    drop function auth.uid();
  end if;
  if pg_catalog.obj_description(to_regclass('auth.users'), 'pg_class') = 'mobvibe-shim' then
    drop table auth.users;
  end if;
  if pg_catalog.obj_description(to_regnamespace('auth'), 'pg_namespace') = 'mobvibe-shim' then
    drop function auth.jwt();
    drop function auth.email();
    drop function auth.role();
    drop schema auth;
  end if;
end
$$;
drop schema if exists mobvibe_migrations cascade;
"""


async def wipe(connection: asyncpg.Connection) -> None:
    """Drop our schemas, functions and tables in one transaction, or nothing.

    Raises what asyncpg raises, also if something of another owner depends on one of our tables.
    """
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '5s'")
        await connection.execute("drop schema if exists private cascade")
        names = sorted(our_functions() | _RETIRED_FUNCTIONS)
        for (function,) in await connection.fetch(_FUNCTIONS, names):
            await connection.execute(f"drop function {function} cascade")
        tables = ", ".join(f"public.{table}" for table in sorted(our_tables()))
        await connection.execute(f"drop table if exists {tables}")
        await connection.execute(_PLATFORM)
