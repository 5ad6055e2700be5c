"""Bad input gets one clear sentence that says what to do next, has its own exit code, and loses nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.program import run_program

SECRET = "geheim-4711"


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program (this one) listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "--demo", "nope"), 2, "There are: "),
        (("run", ""), 2, "The prompt is empty."),
        (("run", " \n\t"), 2, "The prompt is empty."),
        (("run", "x" * 20_001), 2, "the limit is 20,000"),
        (("run",), 2, "There is no prompt."),
        (("run", "a tip calculator"), 2, "ANTHROPIC_API_KEY is not set"),
        (("run", "--demo", "tip-splitter", "more"), 2, "A demo has its own prompt."),
        (("run", "--demo", "tip-splitter", "--sdk", "58"), 2, "should be 54 or 57"),
        (("run", "--demo", "tip-splitter", "--budget", "x"), 2, "budget_usd cannot be used"),
        (("--postgres", "oracle"), 2, "postgres cannot be used"),
        (("up", "--postgres", "docker"), 3, "No Docker engine answers"),
        (("logs", "nope"), 2, "There is no log of"),
        (("retry", "nope"), 2, "not the id of a job"),
        (("worker",), 2, "Set DATABASE_URL"),
        (("frobnicate",), 2, "invalid choice"),
        (("--home", "/dev/null/x"), 3, "--home DIR"),
        (
            ("db", "status", "--postgres", f"postgres://u:{SECRET}@127.0.0.1:1/x"),
            3,
            "Nothing listens",
        ),
        (
            ("db", "status", "--postgres", f"postgres://u:{SECRET}@127.0.0.1:x/x"),
            2,
            "not the address",
        ),
        (("db", "status", "--postgres", f"mysql://u:{SECRET}@127.0.0.1/x"), 2, "not the address"),
    ],
)
async def test_bad_arguments_are_refused_with_what_to_do_next(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    program = await run_program(tmp_path / "home", *arguments)
    assert program.process.returncode == code, program.output
    assert message in program.output
    assert "Traceback" not in program.output
    assert SECRET not in program.output


async def test_a_json_run_that_cannot_start_still_ends_with_one_result(tmp_path: Path) -> None:
    program = await run_program(tmp_path, "run", "--demo", "nope", "--json")
    assert program.process.returncode == 2
    assert (await program.result())["status"] == "failed"


async def test_an_unknown_project_job_session_or_version_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    unknown = "00000000-0000-4000-8000-00000000dead"
    async with await Supervisor.connect(home):  # Keeps Postgres running for all commands.
        for arguments, message in (
            (("run", "--demo", "tip-splitter", "--project", "nope"), "There is no project 'nope'"),
            (("run", "--demo", "tip-splitter-dark"), "Run that first"),
            (("retry", unknown), "There is no job"),
            (("cancel", unknown), "There is no job"),
            (("events", unknown), "There is no session"),
            (("db", "rollback", "--to", "99"), "There is no version 99"),
        ):
            program = await run_program(home.root, *arguments)
            assert program.process.returncode == 2, program.output
            assert message in program.output


async def test_a_fixed_port_that_is_taken_names_its_holder(tmp_path: Path, taken_port: int) -> None:
    program = await run_program(
        tmp_path / "home", "db", "status", "--postgres-port", str(taken_port)
    )
    assert program.process.returncode == 3
    assert str(taken_port) in program.output
    assert "taken by" in program.output


async def test_a_schema_newer_than_the_program_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    async with await Supervisor.connect(home):
        await run_program(home.root, "db", "migrate")
        url = (await run_program(home.root, "db", "url", "--json")).objects[0]["url"]
        connection = await asyncpg.connect(url)
        await connection.execute(
            "insert into mobvibe_migrations.applied (version, name, sha256, execution_ms)"
            " values (9999, 'from_the_future', 'x', 0)"
        )
        await connection.close()
        program = await run_program(home.root, "run", "--demo", "pomodoro", "--json")
    assert program.process.returncode == 3
    assert "Upgrade mobvibe-tui" in program.output
    assert (await program.result())["status"] == "failed"


@pytest.mark.expo
async def test_a_first_install_without_a_network_fails_clearly_and_leaves_no_packages(
    tmp_path: Path,
) -> None:
    offline = {
        "npm_config_registry": "http://127.0.0.1:1/",
        "npm_config_cache": str(tmp_path / "npm"),
    }
    program = await run_program(
        tmp_path / "home", "run", "--demo", "pomodoro", "--json", env=offline
    )
    assert program.process.returncode == 1
    result = await program.result()
    assert result["status"] == "failed"
    assert "npm's registry does not answer" in result["error"]
    assert not (tmp_path / "home" / "sdk-54" / "node_modules").exists()
