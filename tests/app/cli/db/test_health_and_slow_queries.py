"""The doctor reports the database's health, and a log keeps the dashboard's slow queries."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.store.seed import seed
from support.polling import within
from support.terminal import Terminal


async def stdout_of(url: str, home: Path, *arguments: str) -> str:
    """Run a command on the database and return its stdout."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mobvibe_app", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=allowed_environment({"DATABASE_URL": url, "MOBVIBE_HOME": str(home)}),
    )
    async with within(60):
        out, _ = await process.communicate()
    return out.decode()


async def test_the_doctor_checks_the_database_of_a_given_address(
    database_url: str, tmp_path: Path
) -> None:
    async def finding(url: str) -> dict[str, object]:
        lines = (await stdout_of(url, tmp_path / "h", "doctor", "--json")).splitlines()
        found = {each["name"]: each for each in (json.loads(line)["finding"] for line in lines)}
        postgres: dict[str, object] = found["postgres"]
        return postgres

    healthy = await finding(database_url)
    assert healthy["is_fine"] and "answers in" in str(healthy["detail"])
    unreachable = await finding("postgresql://u:hunter2secret@127.0.0.1:1/x")
    assert not unreachable["is_fine"] and "Nothing listens at 127.0.0.1:1" in str(
        unreachable["detail"]
    )
    assert unreachable["remedy"] and "hunter2" not in str(unreachable)


@pytest.mark.terminal
async def test_a_dashboards_slow_queries_are_logged_without_their_values(
    database_url: str, tmp_path: Path
) -> None:
    await seed(database_url)
    env = {"DATABASE_URL": database_url, "MOBVIBE_HOME": str(tmp_path / "h")}
    with Terminal(
        [sys.executable, "-m", "mobvibe_app", "--as", "kofi@example.com"],
        columns=120,
        env=allowed_environment({**env, "MOBVIBE_SLOW_QUERY_MS": "0"}),
    ) as terminal:
        await asyncio.to_thread(terminal.wait_for, "Shift planner")
        terminal.press("q")
        assert await asyncio.to_thread(terminal.wait_for_exit) == 0
    logged = await stdout_of(database_url, tmp_path / "h", "logs", "queries")
    assert "slow: " in logged and "from public.profiles p where lower(p.email)" in logged
    assert "str(16)" in logged and "kofi" not in logged
