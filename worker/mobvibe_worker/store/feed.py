"""Follows the events of a session, each once and in order, across lost connections and server restarts."""

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
    """Yield batches of the events with seq > `after`, then of new ones, without end.

    A notification only triggers a read; without any, the table is read every `poll_seconds`.
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
    """Wait for an event beyond `after`, for a gap in the notifications, or until the time is over."""
    try:
        async with asyncio.timeout(seconds):
            async for payload in wakes:
                if not payload or _concerns(payload, session, after):
                    return
            await asyncio.sleep(seconds)  # the listener is closed, so only polling is left
    except TimeoutError:
        return


def _concerns(payload: str, session: str, after: int) -> bool:
    for part in payload.split(","):
        name, _, seq = part.partition(":")
        if name == session and (not seq.isdigit() or int(seq) > after):
            return True
    return False
