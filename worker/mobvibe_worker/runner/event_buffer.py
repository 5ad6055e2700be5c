"""Appends the events of one attempt to the event log, in batches, in order, and fenced by the attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self
from uuid import UUID, uuid4

from mobvibe_worker.errors import DatabaseUnreachable, LeaseLost
from mobvibe_worker.events import Payload
from mobvibe_worker.jobs import Attempt, SessionId
from mobvibe_worker.sanitize import Redactor

FLUSH_SECONDS = 0.04
RETRY_SECONDS = 0.5


class Log(Protocol):
    """Where events are appended: store.event_log.EventLog."""

    async def append(
        self,
        session_id: SessionId,
        payloads: Sequence[Payload],
        *,
        attempt: Attempt | None = None,
        batch_id: UUID | None = None,
    ) -> int:
        """Append in order. Idempotent for one batch id. Raises LeaseLost if the attempt no longer holds the job."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are sent together, and sent again unchanged if the reply was lost."""

    id: UUID
    payloads: tuple[Payload, ...]


class EventBuffer:
    """`emit` never blocks and masks secrets. Events of 40 ms are sent as one statement.

    While the database is away the events wait here, in order. If the attempt lost its lease, `on_lost` is called once
    and the rest is dropped. If the database refuses a batch, the rest is dropped too, and `on_refused` receives the
    error unless `flush` raises it. `on_stored` receives the number of rows of each stored batch.
    """

    def __init__(
        self,
        log: Log,
        session_id: SessionId,
        attempt: Attempt,
        on_lost: Callable[[], None],
        on_refused: Callable[[Exception], None],
        redact: Redactor,
        on_stored: Callable[[int], None] | None = None,
    ) -> None:
        self._log = log
        self._redact = redact
        self._session_id = session_id
        self._attempt = attempt
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._on_stored = on_stored
        self._waiting: list[Payload] = []
        self._unanswered: Batch | None = None
        self._arrived = asyncio.Event()
        self._sending = asyncio.Lock()
        self._is_lost = False
        self._sender: asyncio.Task[None] | None = None

    def emit(self, payload: Payload) -> None:
        if not self._is_lost:
            self._waiting.append(_redacted(payload, self._redact))
            self._arrived.set()

    async def flush(self) -> None:
        """Send the waiting events. Raises DatabaseUnreachable, and keeps them, or the StoreError that refuses them."""
        async with self._sending:
            while self._unanswered or self._waiting:
                if self._unanswered is None:
                    self._unanswered = Batch(uuid4(), tuple(self._waiting))
                    self._waiting.clear()
                try:
                    await self._send(self._unanswered)
                except LeaseLost:
                    self._drop()
                    self._on_lost()
                except (DatabaseUnreachable, asyncio.CancelledError):
                    raise
                except BaseException:
                    self._drop()
                    raise
                self._unanswered = None

    async def _send(self, batch: Batch) -> None:
        await self._log.append(
            self._session_id, batch.payloads, attempt=self._attempt, batch_id=batch.id
        )
        if self._on_stored is not None:
            self._on_stored(len(batch.payloads))

    async def _send_in_batches(self) -> None:
        """Send until cancelled, or until a batch is refused."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self._arrived.clear()
            try:
                await self.flush()
            except DatabaseUnreachable:
                self._arrived.set()
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as refusal:
                self._on_refused(refusal)
                return

    def _drop(self) -> None:
        self._is_lost = True
        self._waiting.clear()
        self._unanswered = None

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send_in_batches(), name="event buffer")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sender:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)


def _redacted(payload: Payload, redact: Redactor) -> Payload:
    texts: dict[str, Any] = {
        field.name: redact(value)
        for field in fields(payload)
        if isinstance(value := getattr(payload, field.name), str)
    }
    return replace(payload, **texts)
