"""Lists everything that a migration could leave behind in a database, as lines that can be compared."""

from __future__ import annotations

import asyncpg

_LINES = """
select line from (
  select format('schema %s %s %s', n.oid::regnamespace, n.nspowner::regrole, n.nspacl) ||
    coalesce(obj_description(n.oid, 'pg_namespace'), '') as line
  from pg_namespace n where nspname !~ '^pg_' and nspname <> 'information_schema'
  union all
  select format('relation %s %s %s %s %s %s %s', c.oid::regclass, c.relkind, c.relowner::regrole, c.relacl::text,
    c.relrowsecurity, c.relforcerowsecurity, c.reloptions)
  from pg_class c where c.relnamespace = any (array(select oid from ours)) and c.relkind <> 'c'
  union all
  select format('column %s.%s %s %s %s %s %s', a.attrelid::regclass, a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attacl,
    col_description(a.attrelid, a.attnum))
  from pg_attribute a join pg_class c on c.oid = a.attrelid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where c.relnamespace = any (array(select oid from ours)) and a.attnum > 0 and not a.attisdropped
  union all
  select format('function %s %s %s ', p.oid::regprocedure, p.proowner::regrole, p.proacl) || p.prosrc
    || coalesce(p.proconfig::text, '') || p.prosecdef
  from pg_proc p where p.pronamespace = any (array(select oid from ours))
  union all
  select 'trigger ' || pg_get_triggerdef(t.oid) || t.tgenabled::text from pg_trigger t where not t.tgisinternal
  union all
  select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
  from pg_constraint where connamespace = any (array(select oid from ours))
  union all
  select 'index ' || indexdef from pg_indexes where schemaname not like 'pg\\_%'
  union all
  select format('policy %s', p::text) from pg_policies p
  union all
  select format('publication %s %s', pubname, pubowner::regrole)
    || coalesce(obj_description(oid, 'pg_publication'), '') from pg_publication
  union all
  select format('published %s', t) from pg_publication_tables t
  union all
  select format('default grants %s %s %s', defaclrole::regrole, defaclobjtype, defaclacl) from pg_default_acl
  union all
  select format('extension %s', extname) from pg_extension
) lines
where line not like '%mobvibe_migrations%' order by line
"""
_OURS = """
with ours as (
  select oid from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
)
"""


async def schema_lines(dsn: str) -> list[str]:
    """One line for each catalog entry that belongs neither to Postgres nor to the migrations' history."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row["line"] for row in await connection.fetch(_OURS + _LINES)]
    finally:
        await connection.close()
