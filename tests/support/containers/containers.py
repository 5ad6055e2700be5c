"""Containers in a temporary home that a test can start, inspect and break. They are removed afterwards."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
import docker
import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.keeper import LEAST_LIFE_SECONDS
from mobvibe_app.postgres.container import PostgresContainer
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.containers.engine import POSTGRES_IMAGE
from support.polling import patient


@dataclass
class Containers:
    """Everything that a test of containers needs."""

    engine: DockerEngine
    supervisor: Supervisor
    home: Home
    home_id: str
    client: docker.DockerClient
    """A separate client of the engine, to inspect and break containers."""

    def postgres(self, image: str = POSTGRES_IMAGE, port: int | None = None) -> PostgresContainer:
        return PostgresContainer(
            self.home, self.supervisor, self.engine, self.home_id, image=image, port=port
        )


@pytest.fixture
async def containers(engine: DockerEngine, tmp_path: Path) -> AsyncIterator[Containers]:
    async with containers_of(engine, tmp_path / "home") as own:
        yield own


@asynccontextmanager
async def containers_of(engine: DockerEngine, root: Path) -> AsyncIterator[Containers]:
    """A home in `root` with its supervisor. Its containers are removed afterwards."""
    home = Home(root)
    home_id = secrets.token_hex(4)
    client = docker.from_env()
    async with await Supervisor.connect(home) as supervisor:
        yield Containers(engine, supervisor, home, home_id, client)
        if not supervisor.lost.is_set():
            await supervisor.shutdown()
    await asyncio.to_thread(engine.remove_labelled, home_id)
    client.close()


async def until_ended(containers: Containers, service: str) -> None:
    """Wait until the supervisor has noticed that the service's keeper has ended."""
    deadline = time.monotonic() + patient(20)
    while True:
        if await containers.supervisor.running(service) is None:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def until_settled(containers: Containers, name: str) -> None:
    """Wait until the container has run long enough that its end would not count as a failed start."""
    began = containers.client.containers.get(name).attrs["State"]["StartedAt"]
    started = datetime.fromisoformat(f"{began.partition('.')[0]}+00:00").timestamp()
    await asyncio.sleep(max(0.0, started + LEAST_LIFE_SECONDS + 1.5 - time.time()))


async def stored_number(dsn: str) -> object:
    """The number in the table `kept`."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select n from kept")
    finally:
        await connection.close()


async def until_number_is_readable(dsn: str, seconds: float = 60.0) -> None:
    """Wait until Postgres answers and the table `kept` holds 7."""
    deadline = time.monotonic() + patient(seconds)
    while True:
        try:
            assert await stored_number(dsn) == 7
            return
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
