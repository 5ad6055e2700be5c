"""`bench events`: measures how many events are appended per second, and how soon a reader has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncpg import Pool

from mobvibe_app.bench.figures import OURS, Figures, quantile
from mobvibe_app.bench.ours import own_queue
from mobvibe_app.bench.server import bench_database, bench_server
from mobvibe_worker.events import Thinking
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.event_log import EventLog

SESSIONS = 4
TEXT = "Now the timer gets its buttons: start, pause, and one to begin again from the top. " * 2
READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Rounds, and appends by the number of rows in each."""

    rounds: int
    appends: dict[int, int]
    deliveries: int


FULL = Scale(rounds=3, appends={1: 1000, 20: 500, 100: 200, 1000: 20}, deliveries=100)
QUICK = Scale(rounds=1, appends={1: 20, 20: 10, 100: 4}, deliveries=5)


async def bench_events(
    server_url: str | None, *, is_quick: bool, on_line: Callable[[str], None]
) -> Figures:
    """Measure everything, in interleaved rounds. Raises ServiceError, StoreError."""
    scale = QUICK if is_quick else FULL
    figures = Figures()
    async with (
        bench_server(server_url) as server,
        bench_database(server) as dsn,
        own_queue(dsn, SESSIONS) as queue,
    ):
        for number in range(scale.rounds):
            on_line(f"round {number + 1} of {scale.rounds}")
            for rows, appends in scale.appends.items():
                await _time_appends(queue.pool, queue.sessions, rows, appends, figures)
            for rows in scale.appends:
                await _time_delivery(
                    dsn, queue.pool, queue.sessions[0], rows, scale.deliveries, figures
                )
    return figures


async def _time_appends(
    pool: Pool, sessions: list[SessionId], rows: int, appends: int, figures: Figures
) -> None:
    log, payloads = EventLog(pool), [Thinking(TEXT)] * rows
    started = time.perf_counter()
    for number in range(appends):
        await log.append(sessions[number % len(sessions)], payloads)
    rate = rows * appends / (time.perf_counter() - started)
    figures.add(f"append {rows} row(s) a statement", OURS, "rows/s", rate)


async def _time_delivery(
    dsn: str, pool: Pool, session: SessionId, rows: int, deliveries: int, figures: Figures
) -> None:
    """Measure from the call that appends until a reader that follows the session has the last of its rows."""
    log, payloads, times = EventLog(pool), [Thinking(TEXT)] * rows, []
    after = await log.append(session, payloads)
    async with Listener(dsn) as listener, _reading(log, listener, session, after) as reader:
        for _ in range(deliveries if rows < 1000 else deliveries // 10 or 1):
            started = time.perf_counter()
            last = await log.append(session, payloads)
            times.append((await reader.when_has(last) - started) * 1000)
    label = f"append of {rows} row(s) to reader"
    figures.add(f"{label}, p50", OURS, "ms", quantile(times, 0.50))
    figures.add(f"{label}, p99", OURS, "ms", quantile(times, 0.99))


class _Reader:
    def __init__(self) -> None:
        self._read: dict[int, float] = {}
        self._arrived = asyncio.Event()

    def take(self, last_seq: int) -> None:
        self._read[last_seq] = time.perf_counter()
        self._arrived.set()

    async def when_has(self, seq: int) -> float:
        async with asyncio.timeout(READ_SECONDS):
            while True:
                at = [when for last, when in self._read.items() if last >= seq]
                if at:
                    self._read.clear()
                    return min(at)
                self._arrived.clear()
                await self._arrived.wait()


@asynccontextmanager
async def _reading(
    log: EventLog, listener: Listener, session: SessionId, after: int
) -> AsyncIterator[_Reader]:
    reader = _Reader()

    async def read() -> None:
        async for events in log.follow(listener, session, after):
            reader.take(events[-1].seq)

    task = asyncio.create_task(read(), name="bench-reader")
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
