"""The preview of the session on the screen: opened when it is due, watched, woken when it was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import PreviewKnown
from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import Change, PreviewChanged, PreviewWatched, ServiceChanged
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.jobs import SessionId

if TYPE_CHECKING:
    from mobvibe_app.studio.studio import Studio


class ScreenPreview:
    """One dashboard's view of previews. `slug` names the selected session's project, once that is known."""

    def __init__(
        self, studio: Studio, tell: Callable[[Change], None], slug: Callable[[], str | None]
    ) -> None:
        self._studio = studio
        self._tell = tell
        self._slug = slug
        self._due = asyncio.Event()
        self._is_asleep = False

    def due(self) -> None:
        """Another revision is ready: open it."""
        self._due.set()

    async def keep(self, session_id: SessionId) -> None:
        """Open the session's preview now and whenever it is due, and tell what is known of it; for ever."""
        self._due.set()
        self._is_asleep = False
        async with asyncio.TaskGroup() as group:
            watching: asyncio.Task[None] | None = None
            while True:
                await self._due.wait()
                self._due.clear()
                preview = await self.open(session_id)
                if preview is not None and watching is None:
                    watching = group.create_task(self._watch(session_id, preview.slug))

    async def open(self, session_id: SessionId) -> PreviewAddress | None:
        """Serve it where it is not served, and say where; None where there is no app yet, or it cannot start."""
        try:
            preview = await self._studio.connected.preview_host.open(session_id)
        except MobvibeError as error:
            failed = ServiceStatus("preview", "failed", error.message, error.remedy)
            self._tell(ServiceChanged(failed))
            return None
        self._tell(ServiceChanged(_status(preview, self._slug())))
        self._tell(PreviewChanged(session_id, preview))
        return preview

    def wake(self) -> None:
        """Start it again where it was stopped; harmless where it runs."""
        if self._is_asleep:
            self._due.set()

    async def _watch(self, session_id: SessionId, slug: str) -> None:
        address = ""
        async for known in self._studio.connected.preview_host.upkeep.watches.follow(slug):
            self._tell(PreviewWatched(session_id, known))
            self._notice_end(known)
            if address and known.web_url != address:
                self._due.set()
            address = known.web_url

    def _notice_end(self, known: PreviewKnown) -> None:
        """Why it ended by itself is told where it was noticed; that it sleeps, and is back, is told here."""
        was_asleep, self._is_asleep = self._is_asleep, known.facts.ended is not None
        if self._is_asleep and not was_asleep and not known.facts.ended:
            words = f"{known.slug}: stopped; p starts it again"
            self._tell(ServiceChanged(ServiceStatus("preview", "stopped", words)))
        elif was_asleep and not self._is_asleep:
            self._due.set()


def _status(preview: PreviewAddress | None, slug: str | None) -> ServiceStatus:
    """The preview's row once it is known whether the selected session has one."""
    if preview is None:
        return ServiceStatus("preview", "waiting", "starts with the first build")
    return ServiceStatus("preview", "healthy", slug or "", port=urlsplit(preview.web_url).port)
