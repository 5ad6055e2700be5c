"""A project's files on their way into Postgres: paths, hashes, and the content that is not stored there yet."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mobvibe_worker.jobs import ProjectId
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.store.connection.execute import Source
from mobvibe_worker.store.connection.rows import ProjectBlobsRow
from mobvibe_worker.store.connection.table import RowSet

_BLOBS = RowSet("project_blobs", ProjectBlobsRow, key="sha256")


@dataclass(frozen=True, slots=True)
class PackedFiles:
    """Parallel lists of paths and SHA-256 digests, and the new contents, each once."""

    paths: list[str]
    hashes: list[bytes]
    contents: list[bytes]


async def pack(source: Source, project_id: ProjectId, files: FileTree) -> PackedFiles:
    """What `add_revision` needs: nothing is sent that the project holds already."""
    paths = sorted(files)
    hashes = [hashlib.sha256(files[path]).digest() for path in paths]
    by_hash = {digest: files[path] for path, digest in zip(paths, hashes, strict=True)}
    condition = "project_id = $1 and sha256 = any ($2::bytea[])"
    for known in await _BLOBS.values(source, "sha256", condition, project_id, list(by_hash)):
        by_hash.pop(known, None)
    return PackedFiles(paths, hashes, list(by_hash.values()))
