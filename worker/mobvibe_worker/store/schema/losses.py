"""What of a database going back would delete: the tables that hold rows, where a way down drops or empties any."""

from __future__ import annotations

import re

from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.store.schema.migration_files import (
    migrations_folder,
    our_tables,
    read_migrations,
)

_DELETES = re.compile(r"\b(?:drop\s+table|drop\s+column|delete\s+from|truncate)\b", re.IGNORECASE)
# The local owner comes with the migrations and is made anew by them.
_SPARED = {"profiles": f" where id <> '{LOCAL_OWNER}'"}


async def tables_at_risk(dsn: str, to: int) -> list[str]:
    """Our tables that hold rows, where a way down to version `to` deletes rows; else none."""
    files = read_migrations(migrations_folder())
    if not any(file.version > to and _DELETES.search(file.down or "") for file in files):
        return []
    connection = await connect(dsn, application_name="mobvibe-migrations")
    try:
        return [
            table
            for table in sorted(our_tables())
            if await connection.fetchval("select to_regclass($1)", f"public.{table}")
            and await connection.fetchval(
                f"select exists (select from public.{table}{_SPARED.get(table, '')})"
            )
        ]
    finally:
        await connection.close()
