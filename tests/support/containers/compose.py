"""Runs compose.yaml for a test under unique names, with the Compose that this machine has."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.supervisor.ports import pick_port
from support.containers.engine import POSTGRES_IMAGE

ROOT = Path(__file__).parents[3]


class Composed:
    """The services of compose.yaml in `root`. `program` is the command that runs Compose."""

    def __init__(self, program: tuple[str, ...]) -> None:
        self._program = program
        self.root = ROOT
        self.id = secrets.token_hex(4)
        self.port = pick_port(25432)
        self.password = secrets.token_hex(8)

    @property
    def dsn(self) -> str:
        """The URL of the Postgres service, as seen from this machine."""
        return f"postgresql://mobvibe:{self.password}@127.0.0.1:{self.port}/mobvibe"

    def run(self, *arguments: str, more: dict[str, str] | None = None) -> str:
        """Run Compose and return its output."""
        env = {
            **os.environ,
            "MOBVIBE_ID": self.id,
            "MOBVIBE_POSTGRES_IMAGE": POSTGRES_IMAGE,
            "MOBVIBE_POSTGRES_PASSWORD": self.password,
            "MOBVIBE_POSTGRES_PORT": str(self.port),
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_DOCKER_CLI_BUILD": "0",
            **(more or {}),
        }
        argv = (*self._program, "-p", f"mobvibe-{self.id}", *arguments)
        done = subprocess.run(
            argv, env=env, cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def _program() -> tuple[str, ...] | None:
    """The command of Compose: `docker compose`, or else Debian's `docker-compose`."""
    asked = ("docker", "compose", "version")
    if shutil.which("docker") and not subprocess.run(asked, capture_output=True).returncode:
        return asked[:2]
    found = shutil.which("docker-compose")
    return None if found is None else (found,)


@pytest.fixture
def composed(engine: DockerEngine) -> Iterator[Composed]:
    """Compose under names of this test, removed afterwards. Without Compose the test is skipped; in CI it fails."""
    program = _program()
    if program is None:
        assert os.environ.get("CI") not in ("1", "true"), "apt-get install docker-compose"
        pytest.skip("needs docker compose")
    composed = Composed(program)
    yield composed
    composed.run("down", "--volumes", "--rmi", "local")
    assert not engine.labelled(composed.id)
