"""Builds the real feed after the first paint, because importing it is slower than drawing the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from mobvibe_app.studio.changes import Change
from mobvibe_app.studio.commands import Command
from mobvibe_app.ui.studio_port import StudioPort
from mobvibe_worker.errors import InputError


class DeferredFeed:
    """Implements StudioPort by the feed that `build` returns; it is built in a thread when `changes` is called."""

    def __init__(self, build: Callable[[], StudioPort]) -> None:
        self._build = build
        self._feed: StudioPort | None = None
        self._is_closed = False

    async def changes(self) -> AsyncIterator[Change]:
        feed = await asyncio.to_thread(self._build)
        if self._is_closed:
            return
        self._feed = feed
        async for change in feed.changes():
            yield change

    async def do(self, command: Command) -> None:
        """Pass the command on. Raises InputError while the feed is being built."""
        if self._feed is None:
            raise InputError("mobvibe-tui is still starting.", "Try again in a second.")
        await self._feed.do(command)

    async def close(self) -> None:
        self._is_closed = True
        if self._feed is not None:
            await self._feed.close()
