"""A program killed in the middle of a job leaves nothing running, and the job completes once, from a clean revision."""

from __future__ import annotations

import pytest

from journey.conftest import processes_of
from mobvibe_worker.home import Home
from support.polling import until
from support.program import Program, run_program

pytestmark = [pytest.mark.expo, pytest.mark.timeout(900)]

QUICK_LEASE = {"MOBVIBE_LEASE_SECONDS": "2"}


async def test_a_killed_job_runs_again_and_completes_once(home: Home) -> None:
    slow = {**QUICK_LEASE, "MOBVIBE_DEMO_PACE": "1"}
    killed = await Program.start(home.root, "run", "--demo", "tip-splitter", "--json", env=slow)
    event = await killed.until_event(lambda event: event["type"] == "file_change")
    await killed.kill()
    await until(lambda: not processes_of(home), 60, "nothing runs after the last client")

    other = await run_program(home.root, "run", "--demo", "pomodoro", "--json", env=QUICK_LEASE)
    assert (await other.result())["status"] == "completed"
    stored = await run_program(home.root, "events", event["session_id"], "--json")
    ours = [one for one in stored.events if one["job_id"] == event["job_id"]]
    lost = next(one for one in ours if one["type"] == "error")
    assert lost["data"]["will_retry"] is True
    assert [one["seq"] for one in stored.events] == list(range(1, len(stored.events) + 1))

    if not any(one["type"] == "completion" for one in ours):
        # The other program ended as soon as its own job was done; this one runs the reclaimed job.
        again = await run_program(
            home.root, "run", "--demo", "tip-splitter-dark", "--json", env=QUICK_LEASE
        )
        assert (await again.result())["status"] == "completed"
        stored = await run_program(home.root, "events", event["session_id"], "--json")
        ours = [one for one in stored.events if one["job_id"] == event["job_id"]]
    assert sum(one["type"] == "completion" for one in ours) == 1
    (job,) = [
        one["job"]
        for one in (await run_program(home.root, "jobs", "--json")).objects
        if one["job"]["id"] == event["job_id"]
    ]
    assert job["status"] == "completed"
    await until(lambda: not processes_of(home), 60, "nothing is left running")


async def test_ctrl_c_cancels_the_job_and_leaves_the_last_green_revision(home: Home) -> None:
    slow = {"MOBVIBE_DEMO_PACE": "1"}
    program = await Program.start(home.root, "run", "--demo", "habit-tracker", "--json", env=slow)
    await program.until_event(lambda event: event["type"] == "file_change")
    assert await program.interrupt() == 130
    result = await program.result()
    assert result["status"] == "cancelled"
    assert result["url"] is None
    await until(lambda: not processes_of(home), 60, "nothing is left running")
    staged = home.sdk(54).staged("any").parent
    assert not [one for one in staged.iterdir() if not one.name.startswith("warm-")]
    (kept,) = home.failed_attempts.glob(f"{result['project']}-{result['job_id']}.*")
    assert (kept / "App.tsx").exists()


async def test_a_run_whose_environment_is_stopped_fails_without_a_traceback(home: Home) -> None:
    slow = {"MOBVIBE_DEMO_PACE": "1"}
    program = await Program.start(home.root, "run", "--demo", "pomodoro", "--json", env=slow)
    await program.until_event(lambda event: event["type"] == "file_change")
    down = await run_program(home.root, "down")
    assert down.process.returncode == 0
    assert await program.ended(120) == 3
    result = await program.result()
    assert result["status"] == "failed"
    assert "Traceback" not in program.output
    await until(lambda: not processes_of(home), 60, "nothing is left running")
