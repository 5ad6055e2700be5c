"""A full disk gives a clear error and leaves reads working. Writes resume as soon as there is space."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from mobvibe_worker.errors import DatabaseUnreachable, StoreError
from mobvibe_worker.events import Message
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.polling import patient
from support.postgres.clusters import OwnCluster, running
from support.postgres.database import new_session

BALLAST_BYTES = 100_000_000
RECOVERY_SECONDS = 60.0

pytestmark = pytest.mark.chaos


async def test_a_full_disk_is_reported_reads_work_and_writes_resume(
    programs: Path, small_disk: Path, tmp_path: Path
) -> None:
    """Only the tables' disk is full. If the WAL's disk were full too, Postgres would end and need a restart."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    server = OwnCluster(programs, small_disk / "cluster")
    async with running(server, tmp_path / "wal") as cluster:
        await cluster.run_sql("create database chaos")
        url = cluster.url("chaos")
        await MigrationRunner(url).migrate()
        pool = await open_pool(url, size=5)
        try:
            log, session = EventLog(pool), await new_session(pool)
            error, stored = await _fill(log, session)
            assert "disk is full" in error.message and "Free some space" in error.remedy, error
            assert len(await log.read(session, limit=5)) == 5
            last_before = await pool.fetchval("select max(seq) from public.session_events")
            assert last_before == stored

            ballast.unlink()
            started = time.monotonic()
            while True:
                try:
                    await log.append(session, [Message(text="again", author="agent")])
                    break
                except StoreError as refusal:
                    assert time.monotonic() - started < patient(RECOVERY_SECONDS), refusal
                    await asyncio.sleep(0.1)
            print(f"writes again {time.monotonic() - started:.1f} s after space was freed")
            assert cluster.is_running
            newest = await log.read(session, after=stored)
            assert [event.seq for event in newest] == [stored + 1]
        finally:
            await pool.close()


async def _fill(log: EventLog, session: object) -> tuple[StoreError, int]:
    """Write until the disk is full. Returns the error, and how many events were acknowledged."""
    stored = 0
    noise = os.urandom(30_000).hex()
    while True:
        batch = [Message(text=f"{stored + n} {noise}", author="agent") for n in range(20)]
        try:
            stored = await log.append(session, batch)  # type: ignore[arg-type]
        except StoreError as error:
            if not isinstance(error, DatabaseUnreachable):
                return error, stored
            await asyncio.sleep(0.1)


async def test_a_server_that_ran_out_of_space_keeps_every_acknowledged_event(
    programs: Path, small_disk: Path
) -> None:
    """Postgres ends because its WAL is on the full disk, and is restarted once there is space."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    async with running(OwnCluster(programs, small_disk / "cluster")) as cluster:
        await cluster.run_sql("create database chaos")
        await MigrationRunner(cluster.url("chaos")).migrate()
        pool = await open_pool(cluster.url("chaos"), size=2)
        try:
            log, session = EventLog(pool), await new_session(pool)
            stored, noise = 0, os.urandom(200_000).hex()
            refused = False
            while not refused:
                try:
                    stored = await log.append(session, [Message(text=f"{stored} {noise}")])
                except StoreError:
                    refused = True
            ballast.unlink()
            if not await cluster.answers():
                await cluster.stop()
                await cluster.start()
            seqs = await pool.fetch("select seq from public.session_events order by seq")
            assert [row["seq"] for row in seqs][:stored] == list(range(1, stored + 1))
            await log.append(session, [Message(text="again")])
        finally:
            await pool.close()
