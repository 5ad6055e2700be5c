"""One project on this machine: its served folder in step with its head, the person's edits as revisions and events."""

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
from mobvibe_worker.workspace.publish import Edits, ServedFolder

if TYPE_CHECKING:
    from mobvibe_app.preview.address import PreviewAddress
    from mobvibe_worker.store.stores import Stores

MOST_ROUNDS = 20
SETTLE_MS = 300


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
    stores: Stores
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    served: Served | None = None
    trouble: str = ""
    """What was reported last."""
    is_watched: bool = False

    async def bring_to_head(self) -> Revision | None:
        """Commit the person's edits, then publish the head and return it. None if the project has no head yet.

        Raises WorkspaceError, StoreError.
        """
        for _ in range(MOST_ROUNDS):
            head = await self.stores.revisions.head(self.project_id)
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

        def is_edit(_: Change, path: str) -> bool:
            return may_be_edited(Path(path), root)

        async for _ in awatch(root, watch_filter=is_edit, debounce=SETTLE_MS):
            yield
            if not root.exists() or root.stat().st_ino != watched:
                return

    async def _publish(self, revision: Revision, files: FileTree) -> Revision:
        edits = await asyncio.to_thread(self.folder.edits)
        edited = edits.over(files) if edits else files
        if edited != files:
            revision = await self.stores.revisions.commit_person(
                self.project_id, revision.id, edited
            )
        await asyncio.to_thread(self.folder.publish, edited, str(revision.id))
        if edits and edited != files:
            session_id = await self.stores.sessions.latest_of_project(self.project_id)
            if session_id is not None:
                await self.stores.events.append(session_id, _changes(edits, files))
        return revision


def _changes(edits: Edits, before: FileTree) -> tuple[FileChange, ...]:
    changed = tuple(
        FileChange(path, "modified" if path in before else "created") for path in edits.changed
    )
    return changed + tuple(FileChange(path, "deleted") for path in sorted(edits.deleted))


def may_be_edited(path: Path, root: Path) -> bool:
    """Whether a path may be one of the project's files, and not one that Metro keeps beside them."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return not any(part.startswith(".expo") or part == "node_modules" for part in inside.parts)
