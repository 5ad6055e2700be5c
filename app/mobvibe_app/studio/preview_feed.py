"""The preview of a feed's selected session: opened for each head, followed, restarted on request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mobvibe_app.preview.status import no_preview_yet, preview_status
from mobvibe_app.status import OnStatus
from mobvibe_app.studio.changes import OnChange, PreviewChanged, PreviewWatched
from mobvibe_worker.errors import MobvibeError

if TYPE_CHECKING:
    from mobvibe_app.preview.address import PreviewAddress
    from mobvibe_app.preview.facts import PreviewKnown
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_worker.jobs import RevisionId, SessionId


class PreviewFeed:
    """Reports one session's preview for as long as `run` runs."""

    def __init__(
        self, session_id: SessionId, mirror: HeadMirror, on_change: OnChange, on_status: OnStatus
    ) -> None:
        self._session_id = session_id
        self._mirror = mirror
        self._on_change = on_change
        self._on_status = on_status
        self._due = asyncio.Event()
        self._ended: str | None = None
        """Why the preview does not run; empty if it was stopped."""
        self._head: RevisionId | None = None
        """The head for which it was opened; None if that failed."""
        self._is_waiting = False
        """It was reported that there is no app yet."""

    async def run(self) -> None:
        """Open the preview now and whenever the head moved, and report what is known of it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_heads())
            following: asyncio.Task[None] | None = None
            while True:
                await self._due.wait()
                self._due.clear()
                address = await self.open()
                if address is not None and following is None:
                    following = group.create_task(self._follow(address.slug))

    async def open(self, *, again: bool = False) -> PreviewAddress | None:
        """Serve it if it is not served (with `again` in any case) and report where; None if there is no app yet."""
        try:
            address = await self._mirror.open(self._session_id, again=again)
        except MobvibeError:  # The mirror has reported it.
            self._head, self._is_waiting = None, False
            return None
        if address is None and self._is_waiting:
            return None  # The template's Metro has been reported since.
        self._is_waiting = address is None
        self._on_status(
            preview_status(address.slug, address=address) if address else no_preview_yet("build")
        )
        self._on_change(PreviewChanged(self._session_id, address))
        return address

    def wake(self) -> None:
        """Start it again if it was stopped. Idempotent."""
        if self._ended is not None:
            self._due.set()

    async def _follow_heads(self) -> None:
        async for head in self._mirror.heads(self._session_id):
            if head is None or head != self._head:
                self._head = head
                self._due.set()

    async def _follow(self, slug: str) -> None:
        metro_url = ""
        async for known in self._mirror.monitor.follow(slug):
            self._on_change(PreviewWatched(self._session_id, known))
            self._notice_end(known)
            if metro_url and known.metro_url != metro_url:
                self._due.set()
            metro_url = known.metro_url

    def _notice_end(self, known: PreviewKnown) -> None:
        before, self._ended = self._ended, known.facts.ended
        if self._ended is None:
            if before is not None:
                self._due.set()
        elif self._ended != before:
            self._on_status(preview_status(known.slug, ended=self._ended))
