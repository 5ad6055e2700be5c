"""Reads our tables and functions from the live catalog, with types, defaults and CHECK lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from mobvibe_worker.store.schema.migration_files import our_functions, our_tables

_COLUMNS = """
select c.relname as table_name, a.attname as name, format_type(a.atttypid, null) as type,
       not a.attnotnull as is_nullable,
       (a.atthasdef or a.attidentity <> '') and a.attgenerated = '' as has_default,
       a.attgenerated <> '' or a.attidentity = 'a' as is_computed,
       r.relname as row_of
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_catalog.pg_class r on r.reltype = a.atttypid and r.relnamespace = 'public'::regnamespace
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
order by c.relname, a.attnum
"""
_RESULTS = """
select p.proname as table_name, o.name, format_type(o.type, null) as type,
       o.name <> all (string_to_array(
         coalesce(substring(obj_description(p.oid, 'pg_proc') from 'Never null: ([a-z0-9_, ]+)'), ''), ', '
       )) as is_nullable,
       false as has_default, false as is_computed, r.relname as row_of
from pg_catalog.pg_proc p
cross join unnest(p.proallargtypes, p.proargmodes, p.proargnames)
  with ordinality as o (type, mode, name, place)
left join pg_catalog.pg_class r on r.reltype = o.type and r.relnamespace = 'public'::regnamespace
where p.pronamespace = 'public'::regnamespace and p.proretset and o.mode = 't'
order by p.proname, o.place
"""
_LINKS = """
select c.relname as table_name, k.confrelid::regclass::text as target,
       array(
         select a.attname::text from unnest(k.conkey) with ordinality u (number, place)
         join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number
         order by u.place
       ) as columns,
       (
         select bool_and(a.attnotnull) from pg_catalog.pg_attribute a
         where a.attrelid = k.conrelid and a.attnum = any (k.conkey)
       ) as is_required
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = 'public'::regnamespace
order by c.relname, target, columns
"""
_KEYS = """
select c.relname as table_name, a.attname as name
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any (k.conkey)
where k.contype = 'p' and c.relnamespace = 'public'::regnamespace
"""
_LISTS = """
select c.relname as table_name, a.attname as name, pg_get_constraintdef(k.oid) as definition
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_attribute a on a.attrelid = c.oid and k.conkey = array[a.attnum]
where k.contype = 'c' and c.relnamespace = 'public'::regnamespace
order by c.relname, a.attnum, k.conname
"""
_LIST = re.compile(
    r"CHECK \(\(\(?(?P<column>\w+)\)? = ANY \(\(?ARRAY\[(?P<items>.*)\]\)?(?:::text\[\])?\)\)\)"
)
_ITEM = re.compile(r"'((?:[^']|'')*)'::(?:text|character varying)")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `choices` are the values of a CHECK list, in its order; `row_of` is the table whose rows it holds."""

    name: str
    type: str
    is_nullable: bool
    has_default: bool
    is_computed: bool = False
    choices: tuple[str, ...] = ()
    row_of: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the schema `public`, or what a function returns as one."""

    name: str
    columns: tuple[Column, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Link:
    """One foreign key. `target` is a table, with its schema where that is not `public`."""

    table: str
    columns: tuple[str, ...]
    target: str
    is_required: bool


async def read_links(connection: asyncpg.Connection) -> list[Link]:
    ours = our_tables()
    return [
        Link(
            row["table_name"],
            tuple(row["columns"]),
            row["target"].removeprefix("public."),
            row["is_required"],
        )
        for row in await connection.fetch(_LINKS)
        if row["table_name"] in ours
    ]


async def read_keys(connection: asyncpg.Connection) -> set[tuple[str, str]]:
    """The (table, column) pairs that make up primary keys."""
    return {(row["table_name"], row["name"]) for row in await connection.fetch(_KEYS)}


async def read_tables(connection: asyncpg.Connection) -> list[Table]:
    ours = our_tables()
    lists = {
        (row["table_name"], row["name"]): choices
        for row in await connection.fetch(_LISTS)
        if (choices := _choices(row["definition"]))
    }
    columns: dict[str, list[Column]] = {}
    for row in await connection.fetch(_COLUMNS):
        if row["table_name"] not in ours:
            continue
        columns.setdefault(row["table_name"], []).append(_column(row, ours, lists))
    return [Table(name, tuple(found)) for name, found in sorted(columns.items())]


async def read_results(connection: asyncpg.Connection) -> list[Table]:
    """The result tables of our functions in `public`, by name.

    Postgres does not know which of these columns may be null. All may, except those that the function's comment
    lists after `Never null: `.
    """
    functions, ours = our_functions(), our_tables()
    columns: dict[str, list[Column]] = {}
    for row in await connection.fetch(_RESULTS):
        if row["table_name"] in functions:
            columns.setdefault(row["table_name"], []).append(_column(row, ours, {}))
    return [Table(name, tuple(found)) for name, found in sorted(columns.items())]


def _column(
    row: asyncpg.Record, ours: frozenset[str], lists: Mapping[tuple[str, str], tuple[str, ...]]
) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        is_nullable=row["is_nullable"],
        has_default=row["has_default"],
        is_computed=row["is_computed"],
        choices=lists.get((row["table_name"], row["name"]), ()),
        row_of=row["row_of"] if row["row_of"] in ours else "",
    )


def _choices(definition: str) -> tuple[str, ...]:
    """The values of `column in ('a', 'b')`, as Postgres writes it back."""
    match = _LIST.fullmatch(definition)
    if match is None:
        return ()
    return tuple(item.replace("''", "'") for item in _ITEM.findall(match["items"]))
