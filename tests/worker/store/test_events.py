"""Events have no gaps under many writers, and are followed across lost connections."""

from __future__ import annotations

import asyncio
import json
import random
from typing import cast
from uuid import uuid4

from asyncpg import Pool

from mobvibe_worker.events import Event, EventType, Message, Terminal
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.event_log import EventLog
from support.polling import until, within
from support.postgres.database import new_session, running_job

WRITERS, BATCHES, SIZE = 8, 15, 4


async def _write(pool: Pool, session: SessionId, writer: int) -> None:
    log = EventLog(pool)
    for batch in range(BATCHES):
        await log.append(session, [Message(f"{writer} {batch} {number}") for number in range(SIZE)])
        await asyncio.sleep(random.uniform(0, 0.01))


async def _collect(
    log: EventLog, listener: Listener, session: SessionId, wanted: int, poll: float
) -> list[Event]:
    collected: list[Event] = []
    async for events in log.follow(listener, session, poll_seconds=poll):
        collected += events
        if len(collected) >= wanted:
            break
    return collected


async def _cut(pool: Pool, name: str) -> int:
    cut: int = await pool.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and application_name = $1",
        name,
    )
    return cut


async def test_a_reader_that_loses_its_connections_sees_every_event_of_eight_writers(
    database_url: str, pool: Pool
) -> None:
    session = await new_session(pool)
    reading = await open_pool(database_url, size=2, application_name="reader")
    total = WRITERS * BATCHES * SIZE
    cuts = 0
    async with within(60), Listener(database_url) as listener:
        reader = asyncio.create_task(_collect(EventLog(reading), listener, session, total, 3600.0))
        writers = [asyncio.create_task(_write(pool, session, writer)) for writer in range(WRITERS)]
        while not all(writer.done() for writer in writers):
            cuts += await _cut(pool, "mobvibe-listener") + await _cut(pool, "reader")
            await asyncio.sleep(0.05)
        await asyncio.gather(*writers)
        events = await reader
    await reading.close()
    assert cuts > 2
    assert [event.seq for event in events] == list(range(1, total + 1))
    for writer in range(WRITERS):
        own = [e.data["text"] for e in events if e.data["text"].startswith(f"{writer} ")]
        assert own == [f"{writer} {b} {n}" for b in range(BATCHES) for n in range(SIZE)]


async def test_without_notifications_polling_finds_every_event(pool: Pool) -> None:
    session = await new_session(pool)
    deaf = Listener("postgresql://nobody@127.0.0.1:1/nothing")
    async with within(20), deaf:
        reader = asyncio.create_task(_collect(EventLog(pool), deaf, session, 2, 0.05))
        await EventLog(pool).append(session, [Message("a")])
        await EventLog(pool).append(session, [Terminal("tsc", "passed")])
        first, second = await reader
        assert not deaf.is_connected
    assert (first.payload, second.type) == (Message("a"), "terminal")


async def test_only_notifications_of_its_own_session_wake_a_reader(
    database_url: str, pool: Pool
) -> None:
    session, other = await new_session(pool), await new_session(pool)
    log = EventLog(pool)
    async with within(20), Listener(database_url) as listener:
        feed = log.follow(listener, session, poll_seconds=3600)
        pending = asyncio.ensure_future(anext(feed))
        await until(lambda: listener.is_connected)
        await log.append(other, [Message("not yours")])
        last = await log.append(session, [Message("yours"), Message("too")])
        assert [event.seq for event in await pending] == [1, last] == [1, 2]
        await feed.aclose()  # type: ignore[attr-defined]


async def test_an_attempts_events_carry_its_job_over_several_pages(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    log = EventLog(pool)
    await log.append(job.session_id, [Message(str(n)) for n in range(1200)], attempt=attempt)
    listener = Listener("postgresql://nobody@127.0.0.1:1/nothing")
    batch_id = uuid4()
    for _ in range(2):
        assert await log.append(job.session_id, [Message("again")] * 2, batch_id=batch_id) == 1203
    events = await _collect(log, listener, job.session_id, 1201, 60)
    assert [event.seq for event in events] == list(range(1, 1204))
    assert {event.job_id for event in events[:1201]} == {job.id}
    assert len(await log.read(job.session_id, after=1000, limit=50)) == 50


async def test_events_of_unknown_shape_are_readable_without_a_payload(pool: Pool) -> None:
    session = await new_session(pool)
    for data in ('{"text": 1}', '{"words": "hello"}', "{}"):
        await pool.execute(
            "insert into session_events (session_id, event_type, data) values ($1, 'message', $2)",
            *(session, json.loads(data)),
        )
    events = await EventLog(pool).read(session)
    assert [(event.seq, event.payload) for event in events] == [(1, None), (2, None), (3, None)]
    assert events[1].data == {"words": "hello"}
    later = Event(session, 4, None, cast(EventType, "poem"), {"text": "a"}, events[0].created_at)
    assert later.payload is None
