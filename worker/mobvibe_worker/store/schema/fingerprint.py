"""Describes a schema as lines of text, one for each object, to compare two databases."""

from __future__ import annotations

import asyncpg

_LINES = """
with ours as (
  select oid from pg_catalog.pg_namespace
  where nspname in ('public', 'private', 'auth')
), lines as (
  select format('schema %s %s %s', nspname, obj_description(oid, 'pg_namespace'), nspacl) as line
  from pg_catalog.pg_namespace where nspname in ('private', 'auth')
  union all
  select format('view %s %s %s', oid::regclass, relacl, pg_get_viewdef(oid))
  from pg_catalog.pg_class where relkind in ('v', 'm') and relnamespace in (select oid from ours)
  union all
  select format('sequence %s %s', oid::regclass, relacl)
  from pg_catalog.pg_class where relkind = 'S' and relnamespace in (select oid from ours)
  union all
  select format('type %s %s %s', t.oid::regtype, t.typacl,
    array(select enumlabel from pg_catalog.pg_enum where enumtypid = t.oid order by enumsortorder))
  from pg_catalog.pg_type t where t.typtype in ('e', 'd', 'r') and t.typnamespace in (select oid from ours)
  union all
  select format('comment on %s %s: %s', i.type, i.identity, d.description)
  from pg_catalog.pg_description d
  cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i
  where d.objoid >= 16384 and i.schema in ('public', 'private', 'auth')
  union all
  select format('column %s.%s %s%s default %s %s', a.attrelid::regclass, a.attname,
    format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' else '' end,
    pg_get_expr(d.adbin, d.adrelid), a.attacl)
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attnum > 0 and not a.attisdropped and c.relnamespace in (select oid from ours)
  union all
  select format('table %s security %s forced %s %s %s', oid::regclass, relrowsecurity, relforcerowsecurity,
    reloptions, relacl)
  from pg_catalog.pg_class where relkind in ('r', 'p') and relnamespace in (select oid from ours)
  union all
  select format('function %s %s', pg_get_functiondef(oid), proacl)
  from pg_catalog.pg_proc where prokind in ('f', 'p') and pronamespace in (select oid from ours)
  union all
  select format('trigger %s %s', pg_get_triggerdef(t.oid), t.tgenabled)
  from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
  where not t.tgisinternal and c.relnamespace in (select oid from ours)
  union all
  select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
  from pg_catalog.pg_constraint where connamespace in (select oid from ours) and contype <> 'n'
  union all
  select format('index %s', indexdef) from pg_catalog.pg_indexes
  where schemaname in ('public', 'private', 'auth')
  union all
  select format('policy %s.%s %s %s %s %s %s %s', schemaname, tablename, policyname, permissive, roles, cmd,
    qual, with_check)
  from pg_catalog.pg_policies where schemaname in ('public', 'private', 'auth')
  union all
  select format('publication %s %s.%s', pubname, schemaname, tablename)
  from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime'
)
select line from lines order by line collate "C"
"""


async def fingerprint(connection: asyncpg.Connection) -> tuple[str, ...]:
    """Everything that a dump of the schema would contain, one line for each object, in a stable order."""
    return tuple(row["line"] for row in await connection.fetch(_LINES))


def differences(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """The lost (`- `) and the new (`+ `) objects, each by the first line of its definition."""
    lost = [f"- {line.splitlines()[0]}" for line in before if line not in set(after)]
    came = [f"+ {line.splitlines()[0]}" for line in after if line not in set(before)]
    return lost + came
