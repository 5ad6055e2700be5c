"""A real build with real Metro is cancelled, interrupted or handed back, and leaves no process behind."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from asyncpg import Pool

from journey.conftest import processes_of
from mobvibe_worker.agent.recordings import find_recording
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import JobId, Prompt
from mobvibe_worker.store.job_queue import JobQueue
from support.polling import until
from support.postgres.database import new_session
from support.postgres.refusals import refuse_events
from support.program import Program
from support.queue.headless import free_port, scrape, until_row, worker

pytestmark = [pytest.mark.expo, pytest.mark.timeout(600)]

SLOW = {"MOBVIBE_DEMO_PACE": "1"}
COMPLETING = (
    "select 1 from pg_stat_activity where query like '%complete_attempt%'"
    " and wait_event_type = 'Lock' and datname = current_database()"
)


@pytest.fixture(scope="module")
def home(make_expo_home: Callable[[int], Home]) -> Home:
    """A home with a prepared SDK."""
    return make_expo_home(54)


async def under_way(pool: Pool) -> JobId:
    """Start a job and wait until its agent writes files."""
    job = await JobQueue(pool).enqueue(
        await new_session(pool), Prompt("an app for tips"), recording="tip-splitter"
    )
    await until_writing(pool, job, attempt=1)
    return job


async def until_writing(pool: Pool, job: UUID, attempt: int) -> None:
    await until_row(
        pool,
        "select 1 from coding_jobs j join session_events e on e.job_id = j.id"
        " where j.id = $1 and j.attempt = $2 and j.status = 'processing'"
        " and e.event_type = 'file_change' and e.created_at > j.started_at",
        *(job, attempt),
        seconds=120,
    )


def children_of(home: Home, program: Program) -> list[str]:
    """All descendants of the worker, found by the staged folder in which they run."""
    return [one for one in processes_of(home) if f"{program.process.pid} " not in f"{one} "]


async def test_cancelling_ends_a_running_build_and_all_its_processes(
    home: Home, database_url: str, pool: Pool
) -> None:
    port = free_port()
    async with worker(home.root, database_url, "--metrics", str(port), env=SLOW) as program:
        job = await under_way(pool)
        await until(lambda: bool(children_of(home, program)), 60, "the check bundler runs")
        asked = time.monotonic()
        await JobQueue(pool).cancel(job)
        await until_row(
            pool, "select 1 from coding_jobs where id = $1 and status = 'cancelled'", job, seconds=5
        )
        reported = time.monotonic() - asked
        await until(lambda: not children_of(home, program), 5, "no child process is left")
        print(
            f"cancelled after {reported:.3f} s, no process left after {time.monotonic() - asked:.3f}"
        )
        counted = await asyncio.to_thread(scrape, port)
        assert counted["mobvibe_jobs_claimed_total"] == 1
        assert counted["mobvibe_attempts_ended_total{cancelled}"] == 1
        assert counted["mobvibe_attempt_seconds_count"] == 1
        assert counted["mobvibe_running"] == 0 and counted["mobvibe_jobs{cancelled}"] == 1
        written = (
            "select count(*) from session_events where data ->> 'author' is distinct from 'person'"
        )
        assert counted["mobvibe_event_rows_total"] == await pool.fetchval(written) > 3
    assert not processes_of(home)


async def test_a_build_whose_events_are_refused_ends_before_it_spends_more(
    home: Home, database_url: str, pool: Pool
) -> None:
    async with worker(home.root, database_url, env=SLOW) as program:
        job = await under_way(pool)
        await refuse_events(pool, "new.event_type in ('thinking', 'file_change', 'terminal')")
        await until_row(
            pool, "select 1 from coding_jobs where id = $1 and status = 'failed'", job, seconds=120
        )
        await until(lambda: not children_of(home, program), 5, "no child process is left")
    found = await JobQueue(pool).get(job)
    assert "no room for that" in str(found.error) and found.retry_count == 1
    asked = await pool.fetchval("select count(*) from job_turns where job_id = $1", job)
    assert asked < len(find_recording("tip-splitter").turns)


async def test_a_stop_during_completion_loses_no_result(
    home: Home, database_url: str, pool: Pool
) -> None:
    """The project's lock delays the completion while the worker is asked to hand back at once."""
    async with worker(home.root, database_url) as program, pool.acquire() as other:
        job = await under_way(pool)
        async with other.transaction():
            await other.execute(
                "select from projects where id = (select project_id from coding_jobs where id = $1)"
                " for no key update",
                job,
            )
            await until_row(pool, COMPLETING, seconds=120)
            program.process.send_signal(signal.SIGHUP)
            reported = time.monotonic()
            while time.monotonic() - reported < 1.5:
                assert await pool.fetchrow(COMPLETING), "the completion was abandoned"
                await asyncio.sleep(0.05)
        await until_row(
            pool,
            "select 1 from coding_jobs where id = $1 and status = 'completed' and attempt = 1",
            job,
            seconds=20,
        )


async def test_a_second_ctrl_c_hands_jobs_back_at_once(
    home: Home, database_url: str, pool: Pool
) -> None:
    async with worker(home.root, database_url, env=SLOW) as program:
        job = await under_way(pool)
        program.process.send_signal(signal.SIGINT)
        await until(lambda: "again hands them back" in program.output, 10)
        assert (await JobQueue(pool).get(job)).status == "processing"
        program.process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        assert await program.ended(10) == 0
        print(f"ended {time.monotonic() - asked:.2f} s after the second ctrl+c")
    assert "1 job(s) handed back" in program.output
    found = await JobQueue(pool).get(job)
    assert (found.status, found.retry_count, found.worker) == ("pending", 0, None)
    assert not processes_of(home)


async def test_a_reload_hands_the_job_back_first(
    home: Home, database_url: str, pool: Pool, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    flags = ("--reload", str(source), "--drain", "0")
    async with worker(home.root, database_url, *flags, env=SLOW) as program:
        job = await under_way(pool)
        first = (await JobQueue(pool).get(job)).worker
        (source / "changed.py").write_text("answer = 42\n")
        await until_writing(pool, job, attempt=2)
        found = await JobQueue(pool).get(job)
        assert (found.retry_count, found.error) == (0, None)
        assert found.worker not in (None, first)
        assert "1 job(s) handed back" in program.output
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended(20) == 0, program.output
    assert (await JobQueue(pool).get(job)).status == "pending"
    await until(lambda: not processes_of(home), 5, "nothing is left running")


async def test_a_reloading_worker_never_runs_required_sandboxed_checks_unsandboxed(
    home: Home, database_url: str, pool: Pool, tmp_path: Path
) -> None:
    sandboxed = {"MOBVIBE_CHECKS": "docker", "DOCKER_HOST": f"unix://{tmp_path}/no-engine"}
    async with worker(home.root, database_url, "--reload", str(tmp_path), env=sandboxed):
        job = await JobQueue(pool).enqueue(
            await new_session(pool), Prompt("an app for tips"), recording="tip-splitter"
        )
        ended = "select 1 from coding_jobs where id = $1 and status in ('failed', 'completed')"
        await until_row(pool, ended, job, seconds=240)
    found = await JobQueue(pool).get(job)
    assert found.status == "failed" and "No Docker engine" in str(found.error), found.error
    assert "MOBVIBE_CHECKS=process" in str(found.error)
