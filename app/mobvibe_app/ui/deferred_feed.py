"""A feed that is built behind the first paint: its imports take longer than the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from mobvibe_app.status import ServiceCareVerb, ServiceName
from mobvibe_app.studio.changes import Change, DemoSummary
from mobvibe_app.ui.studio_port import StudioPort
from mobvibe_worker.errors import InputError
from mobvibe_worker.jobs import Platform, SessionId


class LateFeed:
    """Implements StudioPort by the one that `build` makes, in a thread, once `changes` is asked for."""

    def __init__(self, build: Callable[[], StudioPort]) -> None:
        self._build = build
        self._feed: StudioPort | None = None
        self._is_closed = False

    async def changes(self) -> AsyncIterator[Change]:
        """Build the real feed, then yield what it yields."""
        feed = await asyncio.to_thread(self._build)
        if self._is_closed:
            return
        self._feed = feed
        async for change in feed.changes():
            yield change

    def demos(self) -> Sequence[DemoSummary]:
        """The recordings; none before the feed is built."""
        return self._feed.demos() if self._feed else ()

    async def submit(
        self, prompt: str, *, new_project: bool = False, platform: Platform = "mobile"
    ) -> SessionId:
        """See StudioPort."""
        return await self._ready.submit(prompt, new_project=new_project, platform=platform)

    async def wake_preview(self) -> None:
        """See StudioPort."""
        await self._ready.wake_preview()

    async def run_demo(self, name: str) -> SessionId:
        """See StudioPort."""
        return await self._ready.run_demo(name)

    async def select(self, session_id: SessionId) -> None:
        """See StudioPort."""
        await self._ready.select(session_id)

    async def cancel(self) -> bool:
        """See StudioPort."""
        return await self._ready.cancel()

    async def care(self, verb: ServiceCareVerb, service: ServiceName) -> None:
        """See StudioPort."""
        await self._ready.care(verb, service)

    async def view_as(self, email: str | None) -> None:
        """See StudioPort."""
        await self._ready.view_as(email)

    async def close(self) -> None:
        """See StudioPort."""
        self._is_closed = True
        if self._feed is not None:
            await self._feed.close()

    @property
    def _ready(self) -> StudioPort:
        if self._feed is None:
            raise InputError("mobvibe-tui is still starting.", "Try again in a second.")
        return self._feed
