"""docs/database.md has the database's diagram and names every table, index, trigger and function."""

from __future__ import annotations

import asyncpg
import pytest

from mobvibe_worker.store.schema.diagram import END, START, document, draw, with_diagram

NAMES = {
    "tables": "select tablename from pg_tables where schemaname = 'public'",
    # Primary keys and the targets of composite foreign keys (named by Postgres after all their columns) need no
    # explanation.
    "indexes": "select indexname from pg_indexes where schemaname = 'public'"
    " and indexname !~ '(_pkey|_id_(project_id|user_id|session_id)[a-z_]*_key)$'",
    "triggers": "select distinct tgname from pg_trigger where not tgisinternal",
    "functions": "select distinct proname from pg_proc where pronamespace = 'public'::regnamespace",
}


async def test_the_diagram_matches_the_catalog(database_url: str) -> None:
    page = document().read_text()
    assert with_diagram(page, await draw(database_url)) == page, "run `mobvibe-tui db contracts`"
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("alter table profiles add nickname text")
    finally:
        await connection.close()
    assert with_diagram(page, await draw(database_url)) != page


@pytest.mark.parametrize("kind", NAMES)
async def test_every_object_is_explained(kind: str, database_url: str) -> None:
    before, _, rest = document().read_text().partition(START)
    prose = before + rest.partition(END)[2]
    connection = await asyncpg.connect(database_url)
    try:
        names = [row[0] for row in await connection.fetch(NAMES[kind])]
    finally:
        await connection.close()
    assert len(names) > 7
    assert [name for name in names if f"`{name}`" not in prose and f" {name}(" not in prose] == []
