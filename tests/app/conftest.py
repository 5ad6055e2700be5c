"""A home with a Postgres cluster for each test, shut down afterwards, and programs that a test may kill."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ports import pick_port
from mobvibe_worker.home import Home
from support.polling import Programs


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose Postgres cluster was created by our own code and does not run."""
    home = Home(tmp_path_factory.mktemp("made"))

    async def make() -> None:
        async with await Supervisor.connect(home) as supervisor:
            await EmbeddedPostgres(home, supervisor).start(lambda status: None)
            await supervisor.shutdown()

    asyncio.run(make())
    return home


@pytest.fixture
async def home(made_home: Home, tmp_path: Path) -> AsyncIterator[Home]:
    """A copy of that home, shut down after the test."""
    home = Home(tmp_path / "home")
    shutil.copytree(made_home.root, home.root, symlinks=True)
    Choices(home.choices).remember_port("postgres", pick_port(None))
    yield home
    supervisor = await Supervisor.attach(home)
    if supervisor is not None:
        async with supervisor:
            await supervisor.shutdown()


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    """Programs that the test starts and may kill; those that still run are killed afterwards."""
    programs = Programs()
    yield programs
    await programs.kill_all()
