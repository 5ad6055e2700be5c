"""One project on this machine: its served folder in step with its head, the person's edits as revisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import Change, awatch

from mobvibe_worker.errors import HeadMoved, ServiceError
from mobvibe_worker.events import FileChange
from mobvibe_worker.jobs import ProjectId, RevisionId, SessionId
from mobvibe_worker.revisions import FileTree, Revision
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.workspace.publish import Edits, ServedFolder

if TYPE_CHECKING:
    from mobvibe_app.preview.address import PreviewAddress

MOST_ROUNDS = 20
SETTLE_MS = 300


@dataclass(frozen=True, slots=True)
class InStep:
    """The head that the folder shows now, and what the person had changed before it."""

    revision: Revision
    edits: tuple[FileChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What this program serves of a project. `revision` is None if the folder may not show the head."""

    session_id: SessionId
    revision: RevisionId | None
    address: PreviewAddress


@dataclass(slots=True)
class ServedProject:
    """Publishes heads into the folder, and commits what the person edits there.

    Hold the lock from `bring_to_head` until the folder is served: those who open the same revision share one start.
    """

    project_id: ProjectId
    folder: ServedFolder
    revisions: RevisionStore
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    served: Served | None = None
    trouble: str = ""
    """What was reported last."""
    is_watched: bool = False

    async def bring_to_head(self) -> InStep | None:
        """Commit the person's edits, then publish the head. None if the project has no head yet.

        Raises WorkspaceError, StoreError.
        """
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

    async def changes(self) -> AsyncIterator[None]:
        """Yield whenever something in the folder changes. Ends when the folder is replaced by another one."""
        root = self.folder.root.resolve()
        watched = root.stat().st_ino

        def is_the_persons(_: Change, path: str) -> bool:
            return is_theirs(Path(path), root)

        async for _ in awatch(root, watch_filter=is_the_persons, debounce=SETTLE_MS):
            yield
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
