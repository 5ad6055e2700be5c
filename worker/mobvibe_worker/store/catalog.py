"""What the live catalog says about our tables: columns, types, defaults, and the values that a CHECK lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

_COLUMNS = """
select c.relname as table_name, a.attname as name, format_type(a.atttypid, null) as type,
       not a.attnotnull as is_nullable,
       (a.atthasdef or a.attidentity <> '') and a.attgenerated = '' as has_default,
       a.attgenerated <> '' or a.attidentity = 'a' as is_computed
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
order by c.relname, a.attnum
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
    """One column. `choices` are the values of a CHECK list, in its order; empty where there is none."""

    name: str
    type: str
    is_nullable: bool
    has_default: bool
    is_computed: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the schema `public`."""

    name: str
    columns: tuple[Column, ...] = field(default=())


async def read_tables(connection: asyncpg.Connection) -> list[Table]:
    """Every table of `public`, by name, its columns in their order."""
    lists = {
        (row["table_name"], row["name"]): choices
        for row in await connection.fetch(_LISTS)
        if (choices := _choices(row["definition"]))
    }
    columns: dict[str, list[Column]] = {}
    for row in await connection.fetch(_COLUMNS):
        columns.setdefault(row["table_name"], []).append(_column(row, lists))
    return [Table(name, tuple(found)) for name, found in sorted(columns.items())]


def _column(row: asyncpg.Record, lists: Mapping[tuple[str, str], tuple[str, ...]]) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        is_nullable=row["is_nullable"],
        has_default=row["has_default"],
        is_computed=row["is_computed"],
        choices=lists.get((row["table_name"], row["name"]), ()),
    )


def _choices(definition: str) -> tuple[str, ...]:
    """The values of `column in ('a', 'b')`, as Postgres writes it back."""
    match = _LIST.fullmatch(definition)
    if match is None:
        return ()
    return tuple(item.replace("''", "'") for item in _ITEM.findall(match["items"]))
