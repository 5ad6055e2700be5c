"""A home's disk fills up until Postgres ends. The dashboard says why, and recovers once there is space."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from mobvibe_app.settings import load_settings
from mobvibe_app.studio.changes import Change, OverviewChanged, ServiceChanged, TroubleChanged
from mobvibe_app.studio.feed import Feed
from mobvibe_app.wiring import build_environment, build_studio
from mobvibe_worker.errors import StoreError
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.connection.sql import repeatable
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.seed import seed
from support.polling import until

PIECE = "select pg_logical_emit_message(true, 'noise', repeat(md5(random()::text), 60000))"
"""Writes two megabytes to the write-ahead log and nothing else."""
RECOVERY_SECONDS = 40.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


class Reported:
    """The changes shown by an open dashboard. It views as a person, so it prepares nothing on the small disk."""

    def __init__(self, home: Path) -> None:
        settings = {"home": str(home), "postgres": "embedded", "view_as": "ada@example.com"}
        self.feed = Feed(build_studio(load_settings(settings)), "ada@example.com")
        self.changes: list[Change] = []

    async def read(self) -> None:
        """Record every change until the feed is closed."""
        async for change in self.feed.changes():
            self.changes.append(change)

    def troubles(self) -> list[tuple[str | None, str]]:
        """The texts of the banner with their remedies; None if it disappeared."""
        found = [change for change in self.changes if isinstance(change, TroubleChanged)]
        return [(change.message, change.remedy) for change in found]

    def has_shown(self, words: str) -> bool:
        """Whether the banner has contained these words."""
        return any(words in (message or "") for message, _ in self.troubles())

    def is_healthy(self) -> bool:
        """Whether Postgres is healthy, the banner is gone and there is an overview."""
        rows = [change.status for change in self.changes if isinstance(change, ServiceChanged)]
        states = [status.state for status in rows if status.name == "postgres"]
        has_overview = any(isinstance(change, OverviewChanged) for change in self.changes)
        return (
            has_overview
            and states[-1:] == ["healthy"]
            and all(trouble[0] is None for trouble in self.troubles()[-1:])
        )


async def test_the_dashboard_survives_a_server_that_ran_out_of_space(
    small_disk: Path,
) -> None:
    environment = build_environment(
        load_settings({"home": str(small_disk), "postgres": "embedded"})
    )
    dsn = await environment.start(lambda status: None)
    reported = Reported(small_disk)
    pool = await open_pool(dsn, size=4)
    reading: asyncio.Task[None] | None = None
    try:
        await environment.migrate(dsn)
        await seed(dsn)
        reading = asyncio.create_task(reported.read())
        await until(reported.is_healthy, 60, "the first overview")
        session = SessionId(
            UUID(str(await pool.fetchval("select id from coding_sessions limit 1")))
        )
        log = EventLog(pool)
        stored = await log.append(session, [Message("before")])

        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - 40_000_000)))
        with pytest.raises(StoreError):
            while True:
                await repeatable(pool, PIECE)
        await until(
            lambda: reported.has_shown("so Postgres cannot start"), 30, "why Postgres cannot start"
        )
        first, remedy = reported.troubles()[-1]
        assert "disk is full" in (first or "") and "Free some space" in remedy
        assert reported.has_shown("Postgres ended: the disk of"), reported.troubles()
        assert await _exit_code_of_a_command(small_disk) == 3

        reported.changes.clear()
        ballast.unlink()
        freed = time.monotonic()
        await until(reported.is_healthy, RECOVERY_SECONDS, "it recovers without help")
        print(f"healthy {time.monotonic() - freed:.1f} s after space was freed")
        assert await log.append(session, [Message("after")]) == stored + 1
        assert [each.seq for each in await log.read(session, after=stored - 1)][-2:] == [
            stored,
            stored + 1,
        ]
    finally:
        await reported.feed.close()
        if reading is not None:
            await reading
        await pool.close()
        await environment.shut_down()
        await environment.close()


async def _exit_code_of_a_command(home: Path) -> int:
    """Run a command on that home, which must name the full disk. Returns its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mobvibe_app", "jobs", "--postgres", "embedded"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MOBVIBE_HOME": str(home)},
    )
    out, err = await process.communicate()
    assert b"disk is full" in err or b"No space left" in err, (out, err)
    assert b"Traceback" not in err, err
    return process.returncode or 0
