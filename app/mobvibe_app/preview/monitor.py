"""Watches the previews that this program shows or hosts. Facts come from their logs, hints from facts and time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import Hint, PreviewFacts, PreviewKnown, Usage, apply
from mobvibe_app.preview.hints import PhoneRoute, hint_for
from mobvibe_app.preview.log import POLL_SECONDS, PreviewLog
from mobvibe_app.preview.network import find_route
from mobvibe_app.preview.providers.local import PreviewService
from mobvibe_worker.errors import MobvibeError, ServiceError

log = logging.getLogger(__name__)

LIFE_SECONDS = 1.0
"""How often to check that the same Metro still runs."""


@dataclass(slots=True)
class _Watched:
    """One project's preview. `known` changes together with `moved`."""

    address: PreviewAddress
    known: PreviewKnown
    shown_at: float
    route: PhoneRoute = field(default_factory=PhoneRoute)
    log: PreviewLog | None = None
    cause: asyncio.Task[ServiceError | None] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self, facts: PreviewFacts) -> None:
        known = PreviewKnown(self.known.slug, facts, self._hint(facts), self.address.metro_url)
        if known != self.known:
            self.known = known
            self.moved.set()
            self.moved = asyncio.Event()

    def _hint(self, facts: PreviewFacts) -> Hint | None:
        where = urlsplit(self.address.metro_url)
        hint = hint_for(
            facts,
            address=where.hostname or "",
            port=where.port or 0,
            expo_go=self.address.expo_go,
            route=self.route,
            shown_at=self.shown_at,
            now=time.time(),
        )
        # What is shown in a browser has no Expo Go to go wrong.
        is_for_phones = self.address.platform == "mobile"
        return hint if hint is None or is_for_phones or hint.key == "bundle-failed" else None


class PreviewMonitor:
    """Watches every preview once, however many callers ask, until `close`."""

    def __init__(self, previews: Callable[[int], Awaitable[PreviewService]]) -> None:
        """`previews` returns the previews of an SDK's projects, or raises ServiceError."""
        self._previews = previews
        self._watched: dict[str, _Watched] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, address: PreviewAddress) -> None:
        """Watch the preview that was just served at this address. Idempotent."""
        watched = self._watched.get(address.slug)
        if watched is None:
            known = PreviewKnown(address.slug, PreviewFacts())
            self._watched[address.slug] = _Watched(address, known, time.time())
        elif watched.address != address:
            watched.address, watched.shown_at = address, time.time()
            watched.route = PhoneRoute()
        if watched is not None and watched.known.facts.ended is not None:
            watched.move(PreviewFacts())
        task = self._tasks.get(address.slug)
        if task is None or task.done():
            # What was known when the last watch ended is read again from the log's beginning.
            self._watched[address.slug].log = None
            name = f"watch the preview of {address.slug}"
            self._tasks[address.slug] = asyncio.create_task(self._run(address.slug), name=name)

    def known(self, slug: str) -> PreviewKnown | None:
        """What is known of a project's preview; None if it was never watched."""
        watched = self._watched.get(slug)
        return watched.known if watched else None

    def measured(self, slug: str, usage: Usage) -> None:
        watched = self._watched.get(slug)
        if watched is not None:
            watched.move(replace(watched.known.facts, usage=usage))

    async def follow(self, slug: str) -> AsyncIterator[PreviewKnown]:
        """What is known now and whenever that changes, until cancelled. The preview must be watched."""
        watched = self._watched[slug]
        while True:
            moved = watched.moved
            yield watched.known
            await moved.wait()

    async def close(self) -> None:
        """Stop watching. The previews run on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, slug: str) -> None:
        watched = self._watched[slug]
        try:
            while True:
                await self._look_for_metro(watched)
                looked_at = time.monotonic()
                while time.monotonic() - looked_at < LIFE_SECONDS:
                    events = watched.log.read() if watched.log else []
                    watched.move(apply(watched.known.facts, events))
                    await asyncio.sleep(POLL_SECONDS)
        except (MobvibeError, OSError) as error:
            # The supervisor is gone, for example. Opening the preview again also watches it again.
            log.warning("the preview of %s is no longer watched: %s", slug, error)
            message = error.message if isinstance(error, MobvibeError) else f"{error}."
            watched.move(replace(watched.known.facts, ended=message))
        finally:
            if watched.cause is not None:
                watched.cause.cancel()

    async def _look_for_metro(self, watched: _Watched) -> None:
        """Notice another Metro, and the end of one."""
        slug = watched.known.slug
        previews = await self._previews(watched.address.sdk)
        found = await previews.events(slug)
        if found is None:
            if watched.log is not None:
                watched.move(apply(watched.known.facts, watched.log.read()))
            watched.log = None
            if watched.known.facts.ended is None:
                watched.move(replace(watched.known.facts, ended=await self._cause(watched)))
            return
        if watched.log is None or watched.log.mark != found.mark:
            watched.log = found
            if watched.cause is not None:
                watched.cause.cancel()
            name = f"end of the preview of {slug}"
            watched.cause = asyncio.create_task(previews.ended(slug), name=name)
            address = urlsplit(watched.address.metro_url).hostname or ""
            watched.route = await asyncio.to_thread(find_route, address)
            watched.shown_at = time.time()
            watched.move(PreviewFacts())

    async def _cause(self, watched: _Watched) -> str:
        """Why it ended; empty if it was stopped, or if this program did not see its end."""
        if watched.cause is None:
            return ""
        done, _ = await asyncio.wait((watched.cause,), timeout=LIFE_SECONDS)
        error = watched.cause.result() if done else None
        return error.message if error else ""
