"""The server is killed three times under twenty writers. No acknowledged event is lost, and the pool recovers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import DatabaseUnreachable, MobvibeError
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.polling import patient, within
from support.postgres.clusters import OwnCluster, running
from support.postgres.database import new_session

WRITERS, KILLS = 20, 3
QUIET_SECONDS = 2.0
HEALTHY_SECONDS = 2.0

pytestmark = pytest.mark.chaos


class Writer:
    """Appends events to one session and remembers which of them were acknowledged."""

    def __init__(self, pool: Pool, session: SessionId) -> None:
        self._log = EventLog(pool)
        self.session = session
        self.acknowledged: list[str] = []
        self.refused: Counter[str] = Counter()

    async def write_until(self, stop: asyncio.Event) -> None:
        """Append one event after another, and repeat an event whose answer was lost."""
        while not stop.is_set():
            text, batch = f"{len(self.acknowledged)} {uuid4()}", uuid4()
            while True:
                try:
                    payload = Message(text=text, author="agent")
                    await self._log.append(self.session, [payload], batch_id=batch)
                    break
                except MobvibeError as error:
                    # Any error that is not a MobvibeError fails the test.
                    self.refused[type(error).__name__] += 1
                    assert isinstance(error, DatabaseUnreachable), error
            self.acknowledged.append(text)


async def _seconds_until_healthy(pool: Pool) -> float:
    """The time until all connections of the pool work again."""
    started = time.monotonic()
    while True:
        try:
            async with within(1):
                await asyncio.gather(*(pool.fetchval("select 1") for _ in range(WRITERS)))
            return time.monotonic() - started
        except Exception as error:
            assert time.monotonic() - started < patient(30), repr(error)
            await asyncio.sleep(0.01)


async def test_no_acknowledged_event_is_lost(programs: Path, tmp_path: Path) -> None:
    async with running(OwnCluster(programs, tmp_path / "cluster")) as cluster:
        await cluster.run_sql("create database chaos")
        url = cluster.url("chaos")
        await MigrationRunner(url).migrate()
        pool = await open_pool(url, size=WRITERS)
        try:
            writers = [Writer(pool, await new_session(pool, f"App {n}")) for n in range(WRITERS)]
            stop = asyncio.Event()
            tasks = [asyncio.create_task(writer.write_until(stop)) for writer in writers]
            seconds = []
            for _ in range(KILLS):
                before = sum(len(writer.acknowledged) for writer in writers)
                await asyncio.sleep(QUIET_SECONDS)
                assert sum(len(writer.acknowledged) for writer in writers) > before
                await cluster.kill()
                await cluster.start()
                seconds.append(await _seconds_until_healthy(pool))
            await asyncio.sleep(QUIET_SECONDS)
            stop.set()
            await asyncio.gather(*tasks)
            await _check(pool, writers)
        finally:
            await pool.close()
        count = sum(len(writer.acknowledged) for writer in writers)
        refused = sum((writer.refused for writer in writers), Counter[str]())
        print(f"{count} acknowledged, 0 lost; healthy after {seconds}; refused: {dict(refused)}")
        assert max(seconds) < HEALTHY_SECONDS


async def _check(pool: Pool, writers: list[Writer]) -> None:
    """Check that exactly the acknowledged events are stored, once each and in order."""
    for writer in writers:
        stored = await pool.fetch(
            "select data ->> 'text' as text, seq from public.session_events"
            " where session_id = $1 order by seq",
            writer.session,
        )
        assert [row["text"] for row in stored] == writer.acknowledged
        assert [row["seq"] for row in stored] == list(range(1, len(stored) + 1))
