"""The events of sessions, appended in batches, read back by seq, and followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

from mobvibe_worker.errors import DatabaseUnreachable
from mobvibe_worker.events import Event, Payload, to_data
from mobvibe_worker.jobs import Attempt, JobId, SessionId
from mobvibe_worker.store.connection.listener import Listener, Subscription
from mobvibe_worker.store.connection.sql import Source, only, repeatable
from mobvibe_worker.store.tables import EVENTS

log = logging.getLogger(__name__)

CHANNEL = "session_events"
PAGE = 500
_RECONNECT_SECONDS = 0.5


class EventLog:
    """The history of sessions. Events are immutable and numbered without gaps within a session."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def append(
        self,
        session_id: SessionId,
        payloads: Sequence[Payload],
        *,
        attempt: Attempt | None = None,
        job_id: JobId | None = None,
        batch_id: UUID | None = None,
    ) -> int:
        """Append in one statement and return the session's last seq. An attempt may append while it holds its job.

        Texts must not contain NUL. Raises LeaseLost, NotFound for an unknown session, and DatabaseUnreachable. After
        the last one the batch may be stored or not; sending it again with the same `batch_id` is idempotent.
        """
        rows = await repeatable(
            self._source,
            "select public.append_events($1, $2, $3, $4, $5, $6, $7)",
            session_id,
            [payload.type for payload in payloads],
            [to_data(payload) for payload in payloads],
            attempt.job_id if attempt else job_id,
            attempt.number if attempt else None,
            attempt.worker if attempt else None,
            batch_id or uuid4(),
        )
        return only(rows, int)

    async def read(self, session_id: SessionId, after: int = 0, limit: int = PAGE) -> list[Event]:
        condition = "session_id = $1 and seq > $2 order by seq limit $3"
        rows = await EVENTS.find(self._source, condition, session_id, after, limit)
        return [
            Event(
                session_id=session_id,
                seq=row.seq,
                job_id=JobId(row.job_id) if row.job_id else None,
                type=row.event_type,
                data=row.data,
                created_at=row.created_at,
            )
            for row in rows
        ]

    async def follow(
        self,
        listener: Listener,
        session_id: SessionId,
        after: int = 0,
        poll_seconds: float = 10.0,
    ) -> AsyncIterator[list[Event]]:
        """Yield batches of the events with seq > `after`, then of new ones, each once and in order, without end.

        A notification only triggers a read; without any, the table is read every `poll_seconds`. While the database
        is away, it waits.
        """
        wakes = listener.subscribe(CHANNEL)
        while True:
            try:
                events = await self.read(session_id, after)
            except DatabaseUnreachable as away:
                log.info("the feed waits for the database: %s", away)
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            if events:
                after = events[-1].seq
                yield events
            if len(events) < PAGE:
                await _woken(wakes, str(session_id), after, poll_seconds)

    async def has_preview_ready(self, session_id: SessionId, revision: str) -> bool:
        rows = await repeatable(
            self._source,
            "select exists (select from public.session_events where session_id = $1"
            " and event_type = 'preview_ready' and data ->> 'revision' = $2)",
            session_id,
            revision,
        )
        return only(rows, bool)


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
