"""The commands `jobs`, `retry` and `cancel` show why a job failed or waits, retry it, or cancel it."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from asyncpg import Pool

from mobvibe_worker.events import ErrorRaised
from mobvibe_worker.jobs import JobId, Prompt
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.job_queue import JobQueue
from support.postgres.database import claimed, new_session
from support.program import Program, run_program


class CommandLine:
    """Runs `mobvibe-tui ...` on the test's database."""

    def __init__(self, home: Path, database_url: str) -> None:
        self._home = home
        self._env = {"DATABASE_URL": database_url}

    async def __call__(self, *arguments: str) -> Program:
        return await run_program(self._home, *arguments, env=self._env)


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> CommandLine:
    return CommandLine(tmp_path, database_url)


async def dead_job(pool: Pool, reason: str = "The key was refused.") -> JobId:
    """A job of a new project that failed for good."""
    await JobQueue(pool).enqueue(await new_session(pool), Prompt("an app"))
    ((job, attempt),) = await claimed(pool)
    await Claims(pool).fail(attempt, reason, retry=False, events=[ErrorRaised(reason)])
    return job.id


async def test_jobs_are_listed_with_why_they_failed_and_where_they_run(
    command: CommandLine, pool: Pool
) -> None:
    dead = await dead_job(pool, "The key was\x1b[31m refused.\nSet another.")
    queue = JobQueue(pool)
    retried = await queue.enqueue(await new_session(pool), Prompt("an app"))
    ((_, attempt),) = await claimed(pool)
    await Claims(pool).fail(attempt, "The model is overloaded.", retry=True)
    running = await queue.enqueue(await new_session(pool), Prompt("an app"))
    await claimed(pool, "laptop:7:abc")

    ran = await command("jobs")
    assert ran.process.returncode == 0, ran.output
    after = {line.split()[0]: ran.lines[n + 1] for n, line in enumerate(ran.lines[:-1])}
    assert after[str(dead)] == "    The key was refused. Set another."
    assert after[str(retried)] == "    tried 1 of 3 times: The model is overloaded."
    assert after[str(running)] == "    runs on laptop:7:abc"

    jobs = {one["job"]["id"]: one["job"] for one in (await command("jobs", "--json")).objects}
    assert jobs[str(dead)]["status"] == "failed" and "refused" in jobs[str(dead)]["error"]
    assert jobs[str(retried)]["retry_count"] == 1 and jobs[str(retried)]["run_at"]
    assert jobs[str(running)]["worker"] == "laptop:7:abc"


async def test_retry_all_dead_makes_all_retriable_jobs_wait_again(
    command: CommandLine, pool: Pool
) -> None:
    dead = [await dead_job(pool) for _ in range(3)]
    cancelled = await JobQueue(pool).enqueue(await new_session(pool), Prompt("an app"))
    await JobQueue(pool).cancel(cancelled)

    ran = await command("retry", "--all-dead", "--json")
    assert ran.process.returncode == 0, ran.output
    assert {one["job"]["id"] for one in ran.objects} == set(map(str, dead))
    assert {one["job"]["status"] for one in ran.objects} == {"pending"}
    stats = await JobQueue(pool).stats()
    assert (stats.pending, stats.failed, stats.cancelled) == (3, 0, 1)
    sessions = await pool.fetch("select status from coding_sessions")
    assert "failed" not in {row["status"] for row in sessions}

    again = await command("retry", "--all-dead")
    assert (again.process.returncode, "no job is dead" in again.output) == (0, True)

    ((session,),) = await pool.fetch("select session_id from coding_jobs limit 1")
    await pool.execute(
        "insert into coding_jobs (session_id, prompt, status, completed_at)"
        " select $1, 'an app', 'failed', now() from generate_series(1, 1005)",
        session,
    )
    many = await command("retry", "--all-dead")
    assert "1005 job(s) are back in the queue" in many.output and "still dead" not in many.output
    assert (await JobQueue(pool).stats()).failed == 0

    closed = await JobQueue(pool).get(await dead_job(pool))
    await pool.execute("update projects set status = 'deleted' where id = $1", closed.project_id)
    refused = await command("retry", "--all-dead")
    assert "1 job(s) are still dead" in refused.output and "no job is dead" not in refused.output
    ran = await command("retry", str(closed.id))
    assert ran.process.returncode == 2 and "is deleted" in ran.output


async def test_one_job_can_be_retried_or_cancelled(command: CommandLine, pool: Pool) -> None:
    dead = await dead_job(pool)
    ran = await command("retry", str(dead), "--json")
    assert ran.objects == [{"job": {"id": str(dead), "status": "pending"}}]
    ran = await command("cancel", str(dead), "--json")
    assert ran.objects == [{"job": {"id": str(dead), "status": "cancelled"}}]
    await command("retry", str(dead))
    await claimed(pool)
    ran = await command("cancel", str(dead))
    assert f"{dead} is being cancelled" in ran.output
    assert (await JobQueue(pool).get(dead)).cancel_requested


async def test_a_job_of_a_deleted_project_is_listed_with_why_it_waits(
    command: CommandLine, pool: Pool
) -> None:
    waiting = await JobQueue(pool).enqueue(await new_session(pool), Prompt("an app"))
    await pool.execute("update projects set status = 'deleted'")
    ran = await command("jobs")
    assert "its project is deleted: it waits until that is restored" in ran.output
    ((job,),) = [one.values() for one in (await command("jobs", "--json")).objects]
    assert (job["id"], job["project_status"]) == (str(waiting), "deleted")
    ran = await command("cancel", str(waiting))
    assert f"{waiting} is cancelled" in ran.output


async def test_invalid_retries_are_refused(command: CommandLine, pool: Pool) -> None:
    for arguments in (("retry",), ("retry", str(uuid4()), "--all-dead"), ("retry", str(uuid4()))):
        ran = await command(*arguments)
        assert ran.process.returncode == 2, ran.output
        assert "Traceback" not in ran.output
