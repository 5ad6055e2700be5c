"""Exports the projects before a reset deletes them, and prints where to."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from mobvibe_app.cli.output import Output
from mobvibe_worker.errors import ExportFailed
from mobvibe_worker.home import Home
from mobvibe_worker.store.export import export_projects


async def export(
    home: Home, out: Output, way_on: str, connection: asyncpg.Connection, tables: list[str]
) -> None:
    """Export into a new folder of the home. `way_on` says how to reset without a copy.

    Raises ExportFailed, and then nothing may be deleted.
    """
    moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        written = await export_projects(connection, tables, home.exports / moment)
    except ExportFailed as error:
        raise ExportFailed(
            error.message, f"Nothing was deleted. Fix the cause, or {way_on}"
        ) from error
    for lacking in written.lacking:
        out.note(f"not exported: {lacking}")
    folder = str(written.folder) if written.slugs else None
    if out.is_json:
        out.value(
            {
                "exported": {
                    "folder": folder,
                    "projects": written.slugs,
                    "files": written.files,
                    "lacking": written.lacking,
                }
            }
        )
    elif folder:
        out.line(
            f"exported {len(written.slugs)} project(s) with {written.files} file(s) to {folder}"
        )
    else:
        out.line("there are no projects to export")
