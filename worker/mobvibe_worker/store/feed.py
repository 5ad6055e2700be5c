"""Follows a session: every event once, in order, across lost connections and restarted servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from mobvibe_worker.errors import DatabaseUnreachable
from mobvibe_worker.events import Event
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.store.connection.listener import Listener, Subscription

if TYPE_CHECKING:
    from mobvibe_worker.store.event_log import EventLog

log = logging.getLogger(__name__)

CHANNEL = "session_events"
PAGE = 500
_RECONNECT_SECONDS = 0.5


async def follow(
    event_log: EventLog,
    listener: Listener,
    session_id: SessionId,
    after: int = 0,
    poll_seconds: float = 10.0,
) -> AsyncIterator[list[Event]]:
    """The events with seq > `after`, then whatever comes, in batches, for ever.

    Notifications only say when to look; `poll_seconds` is how often it is looked without one.
    """
    wakes = listener.subscribe(CHANNEL)
    while True:
        try:
            events = await event_log.read(session_id, after, PAGE)
        except DatabaseUnreachable as away:
            log.info("the feed waits for the database: %s", away)
            await asyncio.sleep(_RECONNECT_SECONDS)
            continue
        if events:
            after = events[-1].seq
            yield events
        if len(events) < PAGE:
            await _woken(wakes, str(session_id), after, poll_seconds)


async def _woken(wakes: Subscription, session: str, after: int, seconds: float) -> None:
    """Return when the session has an event beyond `after`, notifications may be lost, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            async for payload in wakes:
                if not payload or _concerns(payload, session, after):
                    return
            await asyncio.sleep(seconds)  # the listener is closed: only the poll is left
    except TimeoutError:
        return


def _concerns(payload: str, session: str, after: int) -> bool:
    for part in payload.split(","):
        name, _, seq = part.partition(":")
        if name == session and (not seq.isdigit() or int(seq) > after):
            return True
    return False
