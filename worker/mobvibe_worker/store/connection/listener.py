"""One connection that listens for the whole process and reconnects when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from typing import Any, Self
from weakref import WeakSet

import asyncpg

from mobvibe_worker.errors import DatabaseUnreachable
from mobvibe_worker.store.connection.pool import connect, is_transaction_pooler

log = logging.getLogger(__name__)

CATCH_UP = ""
MOST_WAITING = 1000
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_PULSE_SECONDS = 30.0
POLL_SECONDS = 2.0
_ENDED = object()


class Subscription:
    """The payloads of one channel, without end. An empty one means that some may be lost, so read the table."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()

    def push(self, payload: object) -> None:
        """Add a payload. A subscriber that is a thousand behind reads the table instead."""
        if self._waiting.qsize() >= MOST_WAITING:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(CATCH_UP)
        self._waiting.put_nowait(payload)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        payload = await self._waiting.get()
        if payload is _ENDED:
            self._waiting.put_nowait(_ENDED)
            raise StopAsyncIteration
        return str(payload)


class Listener:
    """Listens in the background within `async with`; subscriptions may be made at any time.

    Notifications are hints and the tables hold the truth, so every subscriber gets `CATCH_UP` whenever listening
    starts, also after each loss. LISTEN does not work through a transaction pooler; there every subscriber gets
    `CATCH_UP` every `poll_seconds`.
    """

    def __init__(self, dsn: str, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._dsn = dsn
        self._poll_seconds = poll_seconds
        self._subscribers: defaultdict[str, WeakSet[Subscription]] = defaultdict(WeakSet)
        self._listened: set[str] = set()
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_connected = False

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    def subscribe(self, channel: str) -> Subscription:
        """The payloads of a channel from now on, for as long as the subscription is referenced."""
        subscription = Subscription()
        self._subscribers[channel].add(subscription)
        if channel in self._listened:
            subscription.push(CATCH_UP)
        else:
            self._stirred.set()
        return subscription

    async def __aenter__(self) -> Self:
        work = self._poll if is_transaction_pooler(self._dsn) else self._keep_listening
        self._task = asyncio.create_task(work(), name="listener")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for channel in list(self._subscribers):
            self._notify(channel, _ENDED)

    async def _poll(self) -> None:
        while True:
            for channel in list(self._subscribers):
                self._notify(channel, CATCH_UP)
            await asyncio.sleep(self._poll_seconds)

    async def _keep_listening(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._listen()
                pause = _FIRST_PAUSE
            except (DatabaseUnreachable, OSError, asyncpg.PostgresError) as error:
                log.info("the listener waits for the database: %s", error)
            except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                log.info("the listener lost its connection: %s", error)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        """Listen on one connection until it is lost."""
        connection = await connect(self._dsn, application_name="mobvibe-listener")
        connection.add_termination_listener(lambda _: self._stirred.set())
        try:
            while not connection.is_closed():
                self._stirred.clear()
                await self._listen_to_new_channels(connection)
                self._is_connected = True
                try:
                    async with asyncio.timeout(_PULSE_SECONDS):
                        await self._stirred.wait()
                except TimeoutError:
                    await connection.execute("select 1", timeout=10)
        finally:
            self._is_connected = False
            self._listened.clear()
            connection.terminate()

    async def _listen_to_new_channels(self, connection: asyncpg.Connection) -> None:
        for channel in [name for name in self._subscribers if name not in self._listened]:
            await connection.add_listener(channel, self._on_notification)
            self._listened.add(channel)
            self._notify(channel, CATCH_UP)

    def _on_notification(self, connection: object, pid: int, channel: str, payload: object) -> None:
        self._notify(channel, payload)

    def _notify(self, channel: str, payload: object) -> None:
        for subscription in list(self._subscribers[channel]):
            subscription.push(payload)
