"""A standalone worker with a container engine also sandboxes its checks, and records that it did."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from asyncpg import Pool

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.supervisor.choices import Choices
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import JobId, Prompt
from mobvibe_worker.store.job_queue import JobQueue
from support.containers.engine import BASE_IMAGE
from support.polling import patient
from support.postgres.database import database_url as database_url
from support.postgres.database import new_session
from support.postgres.database import pool as pool
from support.postgres.database import template_database as template_database
from support.program import Program

pytestmark = [pytest.mark.expo, pytest.mark.docker, pytest.mark.timeout(900)]

JOB_SECONDS = 600.0


async def test_a_standalone_worker_runs_its_checks_in_a_container(
    engine: DockerEngine, home: Home, pool: Pool, database_url: str
) -> None:
    env = {"DATABASE_URL": database_url, "MOBVIBE_EXPO_BASE_IMAGE": BASE_IMAGE}
    worker = await Program.start(home.root, "worker", env=env)
    try:
        job = await JobQueue(pool).enqueue(
            await new_session(pool, "Tip splitter"),
            Prompt("split a bill"),
            recording="tip-splitter",
        )
        await _until_completed(pool, job, worker)
        report = await pool.fetchval(
            "select check_report from project_revisions where job_id = $1 and source = 'agent'", job
        )
        assert report["green"] is True and report["sandboxed"] is True
        commands = await pool.fetch(
            "select data ->> 'command' as command from session_events where job_id = $1", job
        )
        assert "check types (sandboxed)" in {row["command"] for row in commands}
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended(60) == 0
        home_id = Choices(home.choices).get("home_id")
        assert engine.labelled(home_id) == ()
    finally:
        if worker.process.returncode is None:
            await worker.kill()
        engine.remove_labelled(str(Choices(home.choices).get("home_id")))


async def _until_completed(pool: Pool, job: JobId, worker: Program) -> None:
    deadline = time.monotonic() + patient(JOB_SECONDS)
    while True:
        row = await pool.fetchrow("select status, error from coding_jobs where id = $1", job)
        if row is not None and row["status"] == "completed":
            return
        assert row is not None and row["status"] != "failed", row
        assert time.monotonic() < deadline and worker.process.returncode is None, worker.output
        await asyncio.sleep(0.2)
