"""Keeps one project's served folder in step with its head revision, and the person's edits as revisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import Change, awatch

from mobvibe_worker.errors import HeadMoved, ServiceError
from mobvibe_worker.events import FileChange
from mobvibe_worker.jobs import ProjectId
from mobvibe_worker.revisions import FileTree, Revision
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.workspace.publish import Edits, ServedFolder

MOST_ROUNDS = 20
SETTLE_MS = 300


@dataclass(frozen=True, slots=True)
class InStep:
    """The head that the folder shows now, and what the person had changed before it."""

    revision: Revision
    edits: tuple[FileChange, ...] = ()


@dataclass(slots=True)
class ServedProject:
    """Publishes heads into the folder, and commits what the person edits there."""

    project_id: ProjectId
    folder: ServedFolder
    revisions: RevisionStore
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def bring_to_head(self) -> InStep | None:
        """Commit the person's edits, then publish the head. None if the project has no head yet.

        Raises WorkspaceError, StoreError.
        """
        async with self._lock:
            for _ in range(MOST_ROUNDS):
                head = await self.revisions.head(self.project_id)
                if head is None:
                    return None
                try:
                    return await self._publish(*head)
                except HeadMoved:
                    continue
        raise ServiceError(
            "The project's files change faster than they can be served.",
            "Stop what writes into the served folder, then try again.",
        )

    async def watch(self) -> AsyncIterator[InStep]:
        """Bring the folder to its head whenever something in it changes, and yield what the person had changed.

        Ends when the folder is replaced by another one.
        """
        root = self.folder.root.resolve()
        watched = root.stat().st_ino

        def is_the_persons(_: Change, path: str) -> bool:
            return is_theirs(Path(path), root)

        async for _ in awatch(root, watch_filter=is_the_persons, debounce=SETTLE_MS):
            shown = await self.bring_to_head()
            if shown is not None and shown.edits:
                yield shown
            if not root.exists() or root.stat().st_ino != watched:
                return

    async def _publish(self, revision: Revision, files: FileTree) -> InStep:
        edits = await asyncio.to_thread(self.folder.edits)
        changes: tuple[FileChange, ...] = ()
        if edits is not None:
            edited = edits.over(files)
            if edited != files:
                changes = _changes(edits, files)
                revision = await self.revisions.commit_person(self.project_id, revision.id, edited)
                files = edited
        await asyncio.to_thread(self.folder.publish, files, str(revision.id))
        return InStep(revision, changes)


def _changes(edits: Edits, before: FileTree) -> tuple[FileChange, ...]:
    changed = tuple(
        FileChange(path, "modified" if path in before else "created") for path in edits.changed
    )
    return changed + tuple(FileChange(path, "deleted") for path in sorted(edits.deleted))


def is_theirs(path: Path, root: Path) -> bool:
    """Whether a path may be the person's, and not what Metro keeps beside the project's files."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return not any(part.startswith(".expo") or part == "node_modules" for part in inside.parts)
