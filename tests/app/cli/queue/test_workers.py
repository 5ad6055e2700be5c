"""The workers of a database are listed in the overview, on the screen and by `mobvibe-tui status`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from asyncpg import Pool

from mobvibe_app.ui.words.workers import workers_lines
from mobvibe_worker.jobs import JobId, Prompt, WorkerId, WorkerSummary, WorkLine
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.workers import WorkerRegistry
from support.dashboard import shown
from support.postgres.database import claimed, new_session
from support.program import run_program
from support.queue.headless import until_row, worker
from support.scripted_studio import ScriptedStudio, overview, services_up

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
BUSY = WorkerSummary(
    *(WorkerId("w"), "laptop", 4312, "0.1.0", 2),
    *(NOW - timedelta(hours=1), NOW - timedelta(seconds=2), False),
    (WorkLine(JobId(UUID(int=100)), "habit-tracker", 1, NOW - timedelta(seconds=48)),),
)


async def _registered(pool: Pool, name: str, silent: str = "0 s", gone: str | None = None) -> None:
    await pool.execute(
        "insert into workers (id, host, pid, version, slots, last_heartbeat_at, gone_at) values"
        " ($1, 'attic', 7, '0.1.0', 2, now() - $2::text::interval, now() - $3::text::interval)",
        *(name, silent, gone),
    )


async def test_workers_are_listed_as_busy_idle_or_lost(pool: Pool) -> None:
    await _registered(pool, "idle", "9 s")
    await _registered(pool, "busy")
    await _registered(pool, "silent", "31 s")
    await _registered(pool, "seen dead", "5 s", gone="1 s")
    await _registered(pool, "went well", "5 s", gone="5 s")
    await _registered(pool, "long silent", "11 minutes")
    await _registered(pool, "long dead", "11 minutes", gone="10 minutes")
    first, second = [await new_session(pool, name) for name in ("Tips", "Habits")]
    for session in (first, second, second):
        await JobQueue(pool).enqueue(session, Prompt("an app"))
    await claimed(pool, "busy", slots=2)

    seen = await WorkerRegistry(pool).summaries()
    assert [one.id for one in seen] == ["busy", "idle", "seen dead", "silent"]
    assert [one.is_lost for one in seen] == [False, False, True, True]
    assert [job.project for job in seen[0].work] == ["tips", "habits"]
    assert seen[0].work[0].attempt == 1 and seen[0].work[0].started_at.tzinfo is not None
    assert not any(one.work for one in seen[1:])


async def test_a_worker_that_stops_cleanly_is_no_longer_listed(pool: Pool, tmp_path: Path) -> None:
    registry = WorkerRegistry(pool)
    await _registered(pool, "w")
    await registry.gone(WorkerId("w"))
    assert await WorkerRegistry(pool).summaries() == []


async def test_status_lists_the_workers_of_the_database(
    tmp_path: Path, database_url: str, pool: Pool
) -> None:
    env = {"DATABASE_URL": database_url}
    async with worker(tmp_path / "other", database_url, "--concurrency", "2") as program:
        await until_row(pool, "select 1 from workers")
        ran = await run_program(tmp_path, "status", env=env)
        assert ran.process.returncode == 0, ran.output
        assert f":{program.process.pid} " in ran.output
        assert "idle  0/2 slots  version 0.1" in ran.output
        (status,) = (await run_program(tmp_path, "status", "--json", env=env)).objects
        (found,) = status["workers"]
        assert (found["pid"], found["is_lost"]) == (program.process.pid, False)
    assert "  worker " not in (await run_program(tmp_path, "status", env=env)).output
    missing = {"DATABASE_URL": database_url.rpartition("/")[0] + "/nothing"}
    ran = await run_program(tmp_path, "status", env=missing)
    assert ran.process.returncode == 0 and "workers: " in ran.output, ran.output


async def test_a_small_dashboard_shows_the_workers_too() -> None:
    studio = ScriptedStudio([*services_up(), overview("processing")])
    async with shown(studio, (80, 24)) as on:
        await on.until(lambda: on.app.state.is_overview_known)
        await on.press("3")
        await on.until_text("● laptop:4312  habit-tracker 0:")
        await on.until_text("● preview")


@pytest.mark.parametrize("width", [20, 28, 56, 120])
def test_a_worker_fits_its_panel(width: int) -> None:
    long = replace(BUSY, host="a-host-with-a-very-long-name.example", version="0.1.0.dev0+g1234567")
    lost = replace(long, is_lost=True, last_heartbeat_at=NOW - timedelta(seconds=90))
    idle = replace(BUSY, work=(), slots=1)
    lines = [line.plain for line in workers_lines((BUSY, long, lost, idle), width, NOW)]
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "laptop:4312" in text and "2s" in text and "lost 1m" in text and "idle" in text
    assert ("1/2 habit-tracker 0:48" in text) == (width > 20)
    assert len(lines) == (4 if width >= 56 else 7)


def test_a_workers_own_words_cannot_drive_the_terminal() -> None:
    evil = replace(BUSY, host="\x1b]0;x\x07[red]a\nb", version="\x1b[2J", work=())
    (line,) = workers_lines((evil,), 100, NOW)
    assert "\x1b" not in line.plain and "\x07" not in line.plain and "\n" not in line.plain
    assert "[red]a b" in line.plain


def test_only_the_first_of_many_workers_are_shown() -> None:
    lines = [line.plain for line in workers_lines((BUSY,) * 9, 80, NOW)]
    assert len(lines) == 7 and lines[-1].strip() == "and 3 more"
