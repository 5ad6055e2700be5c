"""Draws the live catalog as a Mermaid diagram of tables and foreign keys, and keeps it in docs/database.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.store.schema.catalog import (
    Column,
    Link,
    Table,
    read_keys,
    read_links,
    read_tables,
)
from mobvibe_worker.store.schema.migration_files import migrations_folder

START, END = "<!-- diagram: `mobvibe-tui db contracts` -->", "<!-- end of the diagram -->"
_SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}


def document() -> Path:
    """The page that holds the diagram; it exists in a checkout only."""
    return migrations_folder().parent / "docs" / "database.md"


async def draw(dsn: str) -> str:
    """The diagram of a database, in a fenced block. Raises DatabaseUnreachable."""
    connection = await connect(dsn, application_name="mobvibe-contracts")
    try:
        tables, links = await read_tables(connection), await read_links(connection)
        return render(tables, links, await read_keys(connection))
    finally:
        await connection.close()


def render(tables: Sequence[Table], links: Sequence[Link], keys: set[tuple[str, str]]) -> str:
    foreign = {(link.table, column) for link in links for column in link.columns}
    lines = ["```mermaid", "erDiagram"]
    for link in links:
        target = link.target.replace(".", "_")
        least = "||" if link.is_required else "|o"
        is_key = {(link.table, column) for column in link.columns} == {
            key for key in keys if key[0] == link.table
        }
        most = "|" if is_key else "{"
        lines.append(f'  {target} {least}--o{most} {link.table} : "{", ".join(link.columns)}"')
    for table in tables:
        lines.append(f"  {table.name} {{")
        lines += (f"    {line}" for line in _columns(table, keys, foreign))
        lines.append("  }")
    return "\n".join([*lines, "```"])


def with_diagram(text: str, diagram: str) -> str:
    """The page with this diagram between its marks. Raises ValueError if the marks are missing."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the page lacks {START} or {END}")
    return f"{before}{START}\n{diagram}\n{END}{after}"


def _columns(
    table: Table, keys: set[tuple[str, str]], foreign: set[tuple[str, str]]
) -> Iterator[str]:
    for column in table.columns:
        place = table.name, column.name
        marks = [mark for mark, found in (("PK", place in keys), ("FK", place in foreign)) if found]
        yield " ".join(part for part in _parts(column, marks) if part)


def _parts(column: Column, marks: Sequence[str]) -> Iterator[str]:
    yield _SHORT.get(column.type, column.type).replace(" ", "_")
    yield column.name
    yield ", ".join(marks)
    said = ", ".join(column.choices) or ("may be null" if column.is_nullable else "")
    yield f'"{said}"' if said else ""
