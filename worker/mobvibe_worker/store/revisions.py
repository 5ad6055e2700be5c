"""Revisions: every version of a project's files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Record

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import Attempt, JobId, ProjectId, RevisionId
from mobvibe_worker.revisions import FileTree, Revision
from mobvibe_worker.store.connection.rows import (
    ProjectRevisionsRow,
)
from mobvibe_worker.store.connection.sql import Source, once, only, repeatable
from mobvibe_worker.store.tables import BLOBS, FILES, JOBS, REVISIONS


@dataclass(frozen=True, slots=True)
class PackedFiles:
    """Parallel lists of paths and SHA-256 digests, and each content that is not stored yet."""

    paths: list[str]
    hashes: list[bytes]
    contents: list[bytes]


async def pack(source: Source, project_id: ProjectId, files: FileTree) -> PackedFiles:
    """Prepare files for storing, without the contents that the project already has."""
    paths = sorted(files)
    hashes = [hashlib.sha256(files[path]).digest() for path in paths]
    by_hash = {digest: files[path] for path, digest in zip(paths, hashes, strict=True)}
    condition = "project_id = $1 and sha256 = any ($2::bytea[])"
    for known in await BLOBS.values(source, "sha256", condition, project_id, list(by_hash)):
        by_hash.pop(known, None)
    return PackedFiles(paths, hashes, list(by_hash.values()))


async def project_of(source: Source, job_id: JobId) -> ProjectId:
    """The project of a job. Raises NotFound."""
    found = await JOBS.values(source, "project_id", "id = $1", job_id)
    if not found:
        raise NotFound(f"There is no job {job_id}.", "`mobvibe-tui jobs` lists them.")
    return ProjectId(found[0])


class RevisionStore:
    """Reads revisions, and commits those that do not come from the agent."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def head(self, project_id: ProjectId) -> tuple[Revision, FileTree] | None:
        """The current revision with its files, or None if the project has none yet."""
        rows = await REVISIONS.find(
            self._source,
            "id = (select p.head_revision_id from public.projects p where p.id = $1)",
            project_id,
        )
        if not rows:
            return None
        revision = _revision(rows[0])
        return revision, await self.files(revision.id)

    async def get(self, revision_id: RevisionId) -> Revision:
        """One revision. Raises NotFound."""
        rows = await REVISIONS.find(self._source, "id = $1", revision_id)
        if not rows:
            raise NotFound(f"There is no revision {revision_id}.")
        return _revision(rows[0])

    async def files(self, revision_id: RevisionId) -> FileTree:
        """All files of a revision; none for an unknown one."""
        rows = await repeatable(
            self._source,
            f"select {FILES.columns('f')}, {BLOBS.columns('b')} from public.project_files f"
            " join public.project_blobs b on b.project_id = f.project_id and b.sha256 = f.sha256"
            " where f.revision_id = $1 order by f.path",
            revision_id,
        )
        return dict(map(_path_and_content, rows))

    async def commit_template(self, attempt: Attempt, files: FileTree) -> Revision:
        """Commit the project's first files, or return the head if there is one. Raises LeaseLost."""
        packed = await pack(self._source, await project_of(self._source, attempt.job_id), files)
        rows = await repeatable(
            self._source,
            "select public.commit_template($1, $2, $3, $4, $5, $6) as id",
            attempt.job_id,
            attempt.number,
            attempt.worker,
            packed.paths,
            packed.hashes,
            packed.contents,
        )
        return await self.get(RevisionId(only(rows, UUID)))

    async def commit_person(
        self, project_id: ProjectId, base: RevisionId, files: FileTree
    ) -> Revision:
        """Commit a person's edits on top of `base`, unchecked. Raises HeadMoved if `base` is no longer the head."""
        packed = await pack(self._source, project_id, files)
        rows = await once(
            self._source,
            "select public.commit_person($1, $2, $3, $4, $5) as id",
            project_id,
            base,
            packed.paths,
            packed.hashes,
            packed.contents,
        )
        return await self.get(RevisionId(only(rows, UUID)))

    async def restore(
        self, project_id: ProjectId, base: RevisionId, revision_id: RevisionId
    ) -> Revision:
        """Commit an earlier version's files as a new revision; later versions stay.

        Raises HeadMoved if the head is not `base`, NotFound for another project's revision.
        """
        rows = await once(
            self._source,
            "select public.commit_restore($1, $2, $3) as id",
            project_id,
            base,
            revision_id,
        )
        return await self.get(RevisionId(only(rows, UUID)))


def _path_and_content(record: Record) -> tuple[str, bytes]:
    file, blob = FILES.read_part(record), BLOBS.read_part(record, len(FILES))
    assert file is not None and blob is not None
    return file.path, blob.content


def _revision(row: ProjectRevisionsRow) -> Revision:
    return Revision(
        id=RevisionId(row.id),
        project_id=ProjectId(row.project_id),
        parent_id=RevisionId(row.parent_id) if row.parent_id else None,
        source=row.source,
        job_id=JobId(row.job_id) if row.job_id else None,
        created_at=row.created_at,
    )
