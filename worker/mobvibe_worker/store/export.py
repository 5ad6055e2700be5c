"""Writes every project's newest files and its prompts into a folder, also from a database of older migrations."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from mobvibe_worker.errors import ExportFailed, MobvibeError
from mobvibe_worker.store.connection.failures import is_lost
from mobvibe_worker.workspace.tree import write_tree

# Fields are read as text from JSON, so that a missing column is no error and no value of a tenant breaks the reading.
_PROJECTS = """
select
  to_jsonb(p) ->> 'id' as id, to_jsonb(p) ->> 'slug' as slug, to_jsonb(p) ->> 'name' as name,
  to_jsonb(p) ->> 'status' as status, to_jsonb(p) ->> 'head_revision_id' as head,
  to_jsonb(p) -> 'expo_config' ->> 'sdk' as sdk
from public.projects p order by to_jsonb(p) ->> 'created_at'
"""
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
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Project:
    id: str | None
    slug: str | None
    name: str | None
    status: str | None
    head: str | None
    sdk: str | None

    @property
    def label(self) -> str:
        return self.slug or self.name or self.id or "a project without an id"


@dataclass(slots=True)
class Exported:
    """What was written: for each project the folder SLUG with its files, and SLUG.json beside it."""

    folder: Path
    slugs: list[str] = field(default_factory=list)
    files: int = 0
    lacking: list[str] = field(default_factory=list)
    """What could not be read because its table is missing, in words; empty if nothing."""


async def export_projects(
    connection: asyncpg.Connection, tables: Collection[str], folder: Path
) -> Exported:
    """Write all projects into a new folder, which is created only if there are projects.

    Reads only `tables` (as `public.NAME`), inside the caller's transaction, in which they should be locked.
    Raises ExportFailed if existing data cannot be read or written; the projects that can be written are.
    """
    export = _Export(connection, frozenset(tables), Exported(folder))
    try:
        # Rows that row-level security would filter out are an error.
        await connection.execute("set local row_security = off")
        await export.run()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ExportFailed(f"The projects could not be exported to {folder}: {error}") from error
    if export.failed:
        named = "; ".join(export.failed[:_MOST_NAMED])
        more = len(export.failed) - _MOST_NAMED
        raise ExportFailed(
            f"{len(export.failed)} of {len(export.failed) + len(export.written.slugs)} project(s) could not be"
            f" exported to {folder}: {named}{f'; and {more} more' if more > 0 else ''}"
        )
    return export.written


@dataclass(frozen=True, slots=True)
class _Export:
    connection: asyncpg.Connection
    tables: frozenset[str]
    written: Exported
    failed: list[str] = field(default_factory=list)

    async def run(self) -> None:
        for record in await self._read(_PROJECTS, ("projects",)):
            project = _Project(*record)
            try:
                await self._write(project)
            except (ValueError, MobvibeError, asyncpg.PostgresError) as error:
                if is_lost(error):
                    raise
                self.failed.append(f"{project.label} ({error})")

    async def _write(self, project: _Project) -> None:
        if project.id is None:
            raise ValueError("it has no id")
        revision = project.head
        if revision is None:
            revisions = await self._read(_NEWEST, ("project_revisions",), project.id)
            revision = revisions[0][0] if revisions else None
        tables = ("project_files", "project_blobs")
        files = await self._read(_FILES, tables, revision) if revision else []
        prompts = await self._read(_PROMPTS, ("coding_jobs",), project.id)
        slug = self._free_name(project.slug or project.id)
        folder = self.written.folder / slug
        folder.mkdir(mode=0o700, parents=True)
        write_tree({path: content for path, content in files}, folder)
        is_number = re.fullmatch(r"[0-9]{1,4}", project.sdk or "")
        about = {
            "name": project.name,
            "sdk": int(project.sdk or 0) if is_number else project.sdk,
            "status": project.status,
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

    async def _read(
        self, sql: str, needed: Sequence[str], *arguments: object
    ) -> list[asyncpg.Record]:
        """The rows; none if a needed table is missing, which is noted once, or if the first of them is empty."""
        for table in needed:
            if f"public.{table}" not in self.tables:
                lacking = f"{table} (this database has no such table of mobvibe-tui)"
                if lacking not in self.written.lacking:
                    self.written.lacking.append(lacking)
                return []
        try:
            async with self.connection.transaction():
                rows: list[asyncpg.Record] = await self.connection.fetch(sql, *arguments)
                return rows
        except asyncpg.UndefinedColumnError:
            if await self.connection.fetchval(f"select exists (select from public.{needed[0]})"):
                raise
            return []
