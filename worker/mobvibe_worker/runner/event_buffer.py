"""Events of one attempt on their way to the event log: appended in batches, in order, fenced by the attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from mobvibe_worker.errors import LeaseLost, StoreError
from mobvibe_worker.events import Event, Payload
from mobvibe_worker.jobs import Attempt, SessionId

FLUSH_SECONDS = 0.04
RETRY_SECONDS = 0.5


class Log(Protocol):
    """Where events are appended: store.event_log.EventLog."""

    async def append(
        self, session_id: SessionId, payloads: Sequence[Payload], *, attempt: Attempt | None = None
    ) -> int:
        """Append in order; returns the last seq. Raises LeaseLost when the attempt is no longer the job's."""
        ...

    async def read(self, session_id: SessionId, after: int = 0, limit: int = 500) -> list[Event]:
        """The events after a seq."""
        ...


class EventBuffer:
    """`emit` never blocks; what gathered within 40 ms is one statement.

    While the database is away the events wait here, in order. A batch whose answer was lost is looked for
    before it is sent again. When the attempt is fenced off, `on_lost` is called once and the rest is dropped.
    """

    def __init__(
        self, log: Log, session_id: SessionId, attempt: Attempt, on_lost: Callable[[], None]
    ) -> None:
        self._log = log
        self._session_id = session_id
        self._attempt = attempt
        self._on_lost = on_lost
        self._waiting: list[Payload] = []
        self._unanswered: list[Payload] = []
        self._last_seq: int | None = None
        self._arrived = asyncio.Event()
        self._sending = asyncio.Lock()
        self._is_lost = False
        self._task: asyncio.Task[None] | None = None

    def emit(self, payload: Payload) -> None:
        """Take one event."""
        if not self._is_lost:
            self._waiting.append(payload)
            self._arrived.set()

    async def flush(self) -> None:
        """Send what waits. Raises StoreError when the database is away (the events stay)."""
        async with self._sending:
            try:
                await self._send()
            except LeaseLost:
                self._is_lost = True
                self._waiting.clear()
                self._on_lost()

    async def _send(self) -> None:
        if self._last_seq is None:
            self._last_seq = await self._append([])
        if self._unanswered:
            if await self._was_stored(self._last_seq):
                self._unanswered = []
            self._waiting[:0] = self._unanswered
            self._unanswered = []
        if self._waiting:
            self._unanswered, self._waiting = self._waiting, []
            self._last_seq = await self._append(self._unanswered)
            self._unanswered = []

    async def _append(self, batch: Sequence[Payload]) -> int:
        return await self._log.append(self._session_id, batch, attempt=self._attempt)

    async def _was_stored(self, after: int) -> bool:
        """Whether the batch without an answer is there: nobody else writes events of a job that we hold."""
        events = await self._log.read(self._session_id, after)
        return any(event.job_id == self._attempt.job_id for event in events)

    async def _send_in_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self._arrived.clear()
            try:
                await self.flush()
            except StoreError:
                self._arrived.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_in_batches(), name="event-buffer")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
