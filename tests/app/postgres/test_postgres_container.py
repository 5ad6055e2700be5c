"""Postgres in a container keeps its rows whatever happens to the container, and explains what it refuses."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import asyncpg
import pytest

from mobvibe_app.containers.failures import ImageMissing
from mobvibe_app.containers.spec import HOME_LABEL
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.ports import pick_port
from mobvibe_worker.errors import ServiceError
from support.containers.containers import (
    Containers,
    containers_of,
    stored_number,
    until_ended,
    until_number_is_readable,
    until_settled,
)
from support.containers.containers import containers as containers
from support.containers.held_engine import held_engine
from support.polling import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


async def test_postgres_keeps_its_rows_whatever_happens_to_its_container(
    containers: Containers,
) -> None:
    postgres = containers.postgres()
    address = await postgres.start(lambda status: None)
    assert address.version.startswith("18")
    connection = await asyncpg.connect(address.dsn)
    await connection.execute("create table kept (n int); insert into kept values (7)")
    await connection.close()
    found = containers.client.containers.get(postgres.container)
    password = (containers.home.secrets / "postgres-docker-password").read_text()
    assert password not in str(found.attrs)
    assert (containers.home.secrets / "postgres-docker-password").stat().st_mode & 0o777 == 0o600
    ports = found.attrs["NetworkSettings"]["Ports"]["5432/tcp"]
    assert [port["HostIp"] for port in ports] == ["127.0.0.1"]

    # After its keeper was killed the container still runs, and the next start adopts it.
    running = await containers.supervisor.running("postgres")
    assert running is not None
    os.kill(running.pid, 9)
    await until_ended(containers, "postgres")
    assert (await postgres.start(lambda status: None)).port == address.port
    assert containers.client.containers.get(postgres.container).id == found.id
    assert await stored_number(address.dsn) == 7

    # After the container was removed the rows are still in the volume.
    await postgres.stop()
    stopped = containers.client.containers.get(postgres.container)
    assert stopped.attrs["State"]["ExitCode"] == 0
    assert b"database system is shut down" in stopped.logs(tail=5)
    containers.engine.remove(postgres.container)
    assert await stored_number((await postgres.start(lambda status: None)).dsn) == 7


async def test_postgres_recovers_from_a_kill(containers: Containers) -> None:
    postgres = containers.postgres()
    address = await postgres.start(lambda status: None)
    connection = await asyncpg.connect(address.dsn)
    await connection.execute("create table kept (n int); insert into kept values (7)")
    await until_settled(containers, postgres.container)
    containers.client.containers.get(postgres.container).kill()
    await until_number_is_readable(address.dsn)


async def test_another_home_may_take_the_port_while_the_container_starts(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A port that no other test's home starts to look from.
    port = pick_port(None)
    Choices(containers.home.choices).remember_port("postgres-docker", port)
    postgres = containers.postgres()
    async with held_engine(containers.engine, tmp_path / "engine.sock") as engine:
        with monkeypatch.context() as environment:
            environment.setenv("DOCKER_HOST", engine.address)
            late = asyncio.create_task(postgres.start(lambda status: None))
            await until(lambda: engine.is_asked, 60)
        async with containers_of(containers.engine, tmp_path / "faster") as faster:
            await faster.postgres(port=port).start(lambda status: None)
            await engine.release()
            assert (await late).port != port
        await postgres.stop()


async def test_a_volume_of_another_major_version_is_refused_with_what_to_do(
    containers: Containers,
) -> None:
    postgres = containers.postgres()
    labels = {HOME_LABEL: containers.home_id, "dev.mobvibe.postgres-major": "17"}
    containers.engine.create_volume(postgres.volume, labels)
    with pytest.raises(ServiceError, match="holds the data of Postgres 17") as refused:
        await postgres.start(lambda status: None)
    assert "MOBVIBE_POSTGRES_IMAGE=postgres:17" in refused.value.remedy
    assert containers.engine.labelled(containers.home_id) == ()


async def test_a_taken_fixed_port_and_an_unavailable_image_are_reported(
    containers: Containers,
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=f"Port {port}, set for Postgres, is taken by"):
            await containers.postgres(port=port).start(lambda status: None)
    with pytest.raises(ImageMissing, match="its registry does not answer"):
        await containers.postgres("127.0.0.1:1/nothing:1").start(lambda status: None)
