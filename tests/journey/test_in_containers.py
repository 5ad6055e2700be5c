"""From a prompt to the running app with every service in a container; `down --all` then leaves nothing behind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest

from journey.conftest import processes_of
from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.supervisor.choices import Choices
from mobvibe_worker.home import Home
from support.containers.engine import BASE_IMAGE, POSTGRES_IMAGE
from support.phone import Phone
from support.polling import until
from support.program import Program, run_program

pytestmark = [pytest.mark.expo, pytest.mark.docker, pytest.mark.timeout(900)]


async def test_a_demo_reaches_a_phone_and_down_all_leaves_nothing(
    engine: DockerEngine, home: Home
) -> None:
    images = {"MOBVIBE_POSTGRES_IMAGE": POSTGRES_IMAGE, "MOBVIBE_EXPO_BASE_IMAGE": BASE_IMAGE}
    docker_only = ("--postgres", "docker", "--preview", "docker")
    first = await Program.start(
        home.root, "run", "--demo", "tip-splitter", "--keep", "--json", *docker_only, env=images
    )
    result = await first.result()
    assert result["status"] == "completed", first.output
    assert result["checks"]["green"] is True and result["checks"]["sandboxed"] is True
    phone = Phone(result["url"])
    assert b"Split the bill, keep the friends." in await phone.bundle()

    # The second run uses the modes of the first one without naming them.
    async with phone:
        second = await run_program(
            home.root, "run", "--demo", "tip-splitter-dark", "--json", env=images
        )
        assert (await second.result())["url"] == result["url"]
        await phone.sees("MIDNIGHT EDITION")

    services = (await run_program(home.root, "status", "--json")).objects[0]["services"]
    assert {service["facts"]["mode"] for service in services} == {"docker"}
    ports = {service["facts"]["port"] for service in services}
    assert urlsplit(result["url"]).port in ports
    logs = await run_program(home.root, "logs", f"preview-{result['project']}")
    assert "Bundled" in logs.output

    # --keep serves the app until the environment stops.
    home_id = Choices(home.choices).get("home_id")
    down = await run_program(home.root, "down", "--all", "--json", env=images)
    assert down.process.returncode == 0, down.output
    assert await first.ended(60) == 3
    assert engine.labelled(home_id) == ()
    assert all(down.objects[0]["removed"][kind] for kind in ("networks", "volumes", "images"))
    with contextlib.closing(docker.from_env()) as client:
        left = client.api.df()
    labels = [
        one.get("Labels") or {}
        for kind in ("Images", "Containers", "Volumes")
        for one in left[kind]
    ]
    assert home_id not in {value for found in labels for value in found.values()}
    await until(lambda: not processes_of(home), 20, "nothing is left running")


async def test_an_unreachable_engine_is_an_error_and_not_an_empty_database(
    engine: DockerEngine, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    images = {"MOBVIBE_POSTGRES_IMAGE": POSTGRES_IMAGE}
    made = await run_program(home.root, "db", "migrate", "--postgres", "docker", env=images)
    assert made.process.returncode == 0, made.output
    unreachable = {**images, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    refused = await run_program(home.root, "db", "status", env=unreachable)
    assert refused.process.returncode == 3
    assert "No Docker engine answers" in refused.output and "Start Docker" in refused.output
    back = await run_program(home.root, "db", "status", "--json", env=images)
    assert all(one["migration"]["state"] == "applied" for one in back.objects), back.output
    assert (await run_program(home.root, "down", "--all", env=images)).process.returncode == 0
