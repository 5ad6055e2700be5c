"""Writes every project's newest files and its prompts into a folder, also from a database of older migrations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from mobvibe_worker.errors import ExportFailed, MobvibeError
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.workspace.tree import write_tree

# As JSON, so that a missing column is no error.
_PROJECTS = "select to_jsonb(p)::text from public.projects p order by to_jsonb(p) ->> 'created_at'"
_NEWEST = """
select r.id::text from public.project_revisions r where r.project_id = $1::text::uuid
order by to_jsonb(r) ->> 'created_at' desc limit 1
"""
_FILES = """
select f.path, b.content from public.project_files f
join public.project_blobs b on b.project_id = f.project_id and b.sha256 = f.sha256
where f.revision_id = $1::text::uuid
"""
_PROMPTS = """
select j.prompt from public.coding_jobs j where j.project_id = $1::text::uuid
order by to_jsonb(j) ->> 'created_at'
"""
_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError)
_LACKING = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


@dataclass(slots=True)
class Exported:
    """What was written: for each project the folder SLUG with its files, and SLUG.json beside it."""

    folder: Path
    slugs: list[str] = field(default_factory=list)
    files: int = 0
    lacking: list[str] = field(default_factory=list)
    """What could not be read because its table or column is missing, in words; empty if nothing."""


async def export_projects(dsn: str, folder: Path) -> Exported:
    """Write all projects as they are at one moment into a new folder, which is created only if there are projects.

    Raises ExportFailed if existing data cannot be read or written, DatabaseUnreachable.
    """
    export = _Export(await connect(dsn, application_name="mobvibe-export"), Exported(folder))
    try:
        await export.run()
    except (OSError, ValueError, MobvibeError, *_REFUSED) as error:
        raise ExportFailed(f"The projects could not be exported to {folder}: {error}") from error
    finally:
        await export.connection.close()
    return export.written


@dataclass(frozen=True, slots=True)
class _Export:
    connection: asyncpg.Connection
    written: Exported

    async def run(self) -> None:
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            for record in await self._read("projects", _PROJECTS):
                await self._write(json.loads(record[0]))

    async def _write(self, project: Mapping[str, Any]) -> None:
        revision = project.get("head_revision_id")
        if revision is None:
            revisions = await self._read("project_revisions", _NEWEST, project["id"])
            revision = revisions[0][0] if revisions else None
        files = await self._read("project_files", _FILES, revision) if revision else []
        prompts = await self._read("coding_jobs", _PROMPTS, project["id"])
        slug = self._free_name(str(project.get("slug") or project["id"]))
        folder = self.written.folder / slug
        folder.mkdir(mode=0o700, parents=True)
        write_tree({path: content for path, content in files}, folder)
        about = {
            "name": project.get("name"),
            "sdk": (project.get("expo_config") or {}).get("sdk"),
            "status": project.get("status"),
            "prompts": [prompt for (prompt,) in prompts],
        }
        text = json.dumps(about, indent=2, ensure_ascii=False)
        folder.with_name(f"{slug}.json").write_text(f"{text}\n", encoding="utf-8")
        self.written.slugs.append(slug)
        self.written.files += len(files)

    def _free_name(self, slug: str) -> str:
        """A plain folder name: slugs are unique per person only, and an old row may hold anything."""
        plain = re.sub(r"[^a-z0-9-]+", "-", slug.lower()).strip("-")[:60] or "project"
        taken, name, number = set(self.written.slugs), plain, 2
        while name in taken:
            name, number = f"{plain}-{number}", number + 1
        return name

    async def _read(self, what: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows; none if the table or a column is missing, which is noted only once."""
        try:
            async with self.connection.transaction():
                rows: list[asyncpg.Record] = await self.connection.fetch(sql, *arguments)
                return rows
        except _LACKING as error:
            lacking = f"{what} could not be read: {error}"
            if lacking not in self.written.lacking:
                self.written.lacking.append(lacking)
            return []
