"""A headless worker as its operator sees it: log lines, metrics, signals and reloads."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import asyncpg
from asyncpg import Pool

from mobvibe_worker.jobs import Prompt
from mobvibe_worker.store.job_queue import JobQueue
from support.polling import until, until_gone, within
from support.postgres.database import new_session
from support.program import run_program
from support.queue.headless import free_port, scrape, until_row, worker


async def test_lines_and_metrics_report_the_state_of_the_queue(
    tmp_path: Path, database_url: str, pool: Pool
) -> None:
    await JobQueue(pool).enqueue(
        await new_session(pool), Prompt("needs a model, so it stays pending here")
    )
    port = free_port()
    flags = ("--concurrency", "3", "--metrics", str(port))
    async with worker(tmp_path, database_url, *flags) as program:
        wanted = "queue: 1 waiting (oldest "
        await until(lambda: wanted in program.output, 30, "the monitor's line")
        assert "0 running, 0 completed, 0 failed, 0 cancelled, 0.0 a minute" in program.output
        assert "here 0 of 3 slots" in program.output
        found = await asyncio.to_thread(scrape, port)
        assert found["mobvibe_jobs{pending}"] == 1
        assert found["mobvibe_jobs{processing}"] == found["mobvibe_jobs{failed}"] == 0
        assert 0 < found["mobvibe_oldest_pending_seconds"] < 60
        assert (found["mobvibe_slots"], found["mobvibe_running"]) == (3, 0)
        assert found["mobvibe_database_up"] == found["mobvibe_listener_connected"] == 1
        for name in ("jobs_claimed", "jobs_reclaimed", "event_rows", "model_cost_usd"):
            assert found[f"mobvibe_{name}_total"] == 0
        assert found["mobvibe_attempts_ended_total{handed_back}"] == 0
        assert found["mobvibe_attempt_seconds_bucket{+Inf}"] == 0
        assert found["process_resident_memory_bytes"] > 1_000_000

        refused = await run_program(
            *(tmp_path / "other", "worker", *flags), env={"DATABASE_URL": database_url}
        )
        assert refused.process.returncode == 3
        assert f"Port {port} is taken" in refused.output and "Traceback" not in refused.output

        program.process.send_signal(signal.SIGTERM)
        assert await program.ended(30) == 0
    assert "stopped" in program.output and "Traceback" not in program.output
    assert await pool.fetchval("select count(*) from workers where gone_at is null") == 0


async def test_a_worker_expires_sessions_and_reports_as_json(
    tmp_path: Path, database_url: str, pool: Pool
) -> None:
    session = await new_session(pool)
    await pool.execute("update coding_sessions set expires_at = now() - interval '1 minute'")
    async with worker(tmp_path, database_url, "--json") as program:
        await until_row(
            pool, "select 1 from coding_sessions where id = $1 and status = 'expired'", session
        )
        await until(lambda: bool(program.objects), 30, "a reading")
        reading = program.objects[0]["monitor"]
        assert reading["queue"]["pending"] == 0
        assert (reading["slots"], reading["running_here"], reading["is_listening"]) == (1, 0, True)


async def test_metrics_report_a_missing_database(
    tmp_path: Path, database_url: str, postgres_server: str
) -> None:
    port, name = free_port(), database_url.rpartition("/")[2]
    administrator = await asyncpg.connect(f"{postgres_server}/postgres")
    try:
        async with worker(tmp_path, database_url, "--metrics", str(port)) as program:
            await administrator.execute(f"alter database {name} allow_connections false")
            await administrator.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
            )
            found = await asyncio.to_thread(scrape, port)
            assert found["mobvibe_database_up"] == 0
            assert "mobvibe_jobs{pending}" not in found
            assert found["mobvibe_slots"] == 1
            await administrator.execute(f"alter database {name} allow_connections true")
            await until_up(port)
            assert program.process.returncode is None
    finally:
        await administrator.execute(f"alter database {name} allow_connections true")
        await administrator.close()


async def until_up(port: int) -> None:
    await until(lambda: scrape(port)["mobvibe_database_up"] == 1, what="the worker has reconnected")


async def test_unusable_settings_are_named(tmp_path: Path) -> None:
    for flags, named in (
        (("--concurrency", "0"), "concurrency"),
        (("--metrics", "70000"), "metrics_port"),
        (("--drain", "-1"), "drain_seconds"),
        (("--reload", str(tmp_path / "nowhere")), "is not a folder"),
        (("--reload", "--json"), "--reload prints lines"),
        ((), "needs a database"),
    ):
        program = await run_program(tmp_path, "worker", *flags)
        assert program.process.returncode == 2, program.output
        assert named in program.output and "Traceback" not in program.output


async def test_the_worker_package_alone_refuses_to_start_with_sandboxed_checks(
    tmp_path: Path, database_url: str, pool: Pool
) -> None:
    given = {"MOBVIBE_HOME": str(tmp_path), "DATABASE_URL": database_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mobvibe_worker"),
        env={**os.environ, **given, "MOBVIBE_CHECKS": "docker"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with within(60):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 2, errors
    for words in (b"mobvibe-worker: ", b"`mobvibe-tui worker`", b"MOBVIBE_CHECKS=process"):
        assert words in errors
    assert b"Traceback" not in errors
    assert await pool.fetchval("select count(*) from workers") == 0


async def test_a_change_of_its_source_restarts_the_worker(
    tmp_path: Path, database_url: str, pool: Pool
) -> None:
    source = Path(__file__).parents[3]
    copied = tmp_path / "worker"
    shutil.copytree(source / "worker", copied, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations").symlink_to(source / "migrations")
    broken = copied / "mobvibe_worker" / "errors.py"
    text = broken.read_text()
    alive = "select 1 from workers where gone_at is null and id <> $1"

    env = {"PYTHONPATH": str(copied)}
    async with worker(tmp_path / "home", database_url, "--reload", env=env) as program:
        await until_row(pool, alive, "")
        first = await pool.fetchval("select id from workers")
        cached = copied / "mobvibe_worker" / "__pycache__"
        cached.mkdir(exist_ok=True)
        (cached / "noise.py").write_text("")
        (copied / "mobvibe_worker" / "notes.txt").write_text("no source")
        broken.write_text(text)
        await until_row(pool, alive, first)
        assert await pool.fetchval("select gone_at is not null from workers where id = $1", first)
        assert "errors.py changed: restarting the worker" in program.output

        broken.write_text("this is no Python\n")
        await until(lambda: "it restarts after the next change" in program.output, 60)
        broken.write_text(text)
        second = await pool.fetchval("select id from workers where id <> $1", first)
        await until_row(pool, alive + " and id <> $2", first, second)
        program.process.send_signal(signal.SIGINT)
        assert await program.ended(30) == 0, program.output
    assert await pool.fetchval("select count(*) from workers where gone_at is null") == 0
    assert await pool.fetchval("select count(*) from workers") == 3


async def test_a_worker_never_outlives_its_reloader(
    tmp_path: Path, database_url: str, pool: Pool
) -> None:
    (tmp_path / "source").mkdir()
    flags = ("--reload", str(tmp_path / "source"))
    async with worker(tmp_path / "home", database_url, *flags) as program:
        await until_row(pool, "select 1 from workers where gone_at is null")
        pid = await pool.fetchval("select pid from workers")
        await program.kill()
        await until_gone([pid], 20)
    assert await pool.fetchval("select count(*) from workers where gone_at is null") == 0
