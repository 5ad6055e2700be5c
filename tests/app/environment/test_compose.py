"""compose.yaml creates the same Postgres container as the program, and sandboxes every service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import docker
import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.postgres.container_parts import PostgresParts
from mobvibe_worker.home import Home
from support.containers.compose import Composed
from support.containers.compose import composed as composed
from support.containers.engine import POSTGRES_IMAGE
from support.polling import patient

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
_SAME = ("CapDrop", "CapAdd", "SecurityOpt", "PidsLimit", "PortBindings", "Privileged")


def _facts(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a container that must be the same, from the engine's description."""
    labels = attrs["Config"]["Labels"]
    variables = dict(entry.split("=", 1) for entry in attrs["Config"]["Env"])
    host = {name: attrs["HostConfig"][name] for name in _SAME}
    host["CapAdd"] = sorted(host["CapAdd"])
    return {
        "name": attrs["Name"],
        "image": attrs["Image"],
        "labels": {key: labels[key] for key in ("dev.mobvibe.home", "dev.mobvibe.service")},
        "variables": {key: variables[key] for key in ("POSTGRES_USER", "POSTGRES_DB")},
        "mounts": [(one["Name"], one["Destination"]) for one in attrs["Mounts"]],
        **host,
    }


async def test_compose_and_the_program_create_the_same_postgres(
    engine: DockerEngine, composed: Composed, tmp_path: Path
) -> None:
    composed.run("up", "-d", "postgres")
    client = docker.from_env()
    try:
        name = f"mobvibe-{composed.id}-postgres"
        found = _facts(client.containers.get(name).attrs)
        labels = engine.volume_labels(name)
        await _until_it_answers(composed.dsn)
        composed.run("down")

        # The volume stays, and the program adopts it.
        home = Home(tmp_path / "home")
        home.prepare()
        parts = PostgresParts(home, engine, composed.id, POSTGRES_IMAGE)
        parts.prepare(lambda status: None)
        assert engine.volume_labels(name) == labels
        parts.ensure_container(composed.port)
        made = _facts(client.containers.get(name).attrs)
        assert found == made
        engine.remove(name)
    finally:
        client.close()


async def _until_it_answers(dsn: str) -> None:
    deadline = time.monotonic() + patient(60)
    while True:
        try:
            connection = await asyncpg.connect(dsn)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            assert time.monotonic() < deadline
        else:
            assert str(await connection.fetchval("show server_version")).startswith("18")
            await connection.close()
            return


def test_every_service_is_sandboxed_and_labelled(composed: Composed) -> None:
    assert set(composed.run("config", "--services").split()) == {
        "postgres",
        "migrate",
        "worker",
        "preview",
    }
    config = composed.run("config")
    assert config.count("no-new-privileges") == 4 == config.count("cap_drop:")
    assert config.count(f"dev.mobvibe.home: {composed.id}") == 7
    assert not any(words in config for words in ("privileged", "docker.sock", "network_mode"))
    # MOBVIBE_HOST is the only address on which the previews' five ports are open.
    config = composed.run("config", more={"MOBVIBE_HOST": "192.0.2.7"})
    assert config.count("192.0.2.7") == 6
