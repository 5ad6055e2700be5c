"""A cancelled image build ends, so that the program can end too."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import threading
from pathlib import Path

import docker
import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.preview.providers import expo_image
from mobvibe_app.preview.providers.expo_image import ExpoImage
from mobvibe_app.status import ServiceStatus
from support.containers.engine import BASE_IMAGE
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.polling import patient, until

pytestmark = [pytest.mark.docker, pytest.mark.expo, pytest.mark.timeout(300)]


def own_recipe(folder: Path) -> Path:
    """Copy the real recipe and add a unique first step, so that no later build reuses this one's layers."""
    shutil.copytree(Path(expo_image.__file__).with_name("expo_image"), folder)
    dockerfile = folder / "Dockerfile"
    base = "FROM ${BASE_IMAGE}\n"
    text = dockerfile.read_text()
    assert base in text
    dockerfile.write_text(text.replace(base, f"{base}ENV GIVEN_UP={secrets.token_hex(4)}\n"))
    return folder


async def test_a_build_that_is_cancelled_ends_within_seconds(
    engine: DockerEngine, expo_sdk: ExpoSdk, tmp_path: Path
) -> None:
    files = expo_sdk.starter.files("Given up", "given-up")
    recipe = own_recipe(tmp_path / "recipe")
    home = secrets.token_hex(4)
    image = ExpoImage(engine, home, expo_sdk.sdk, files, base=BASE_IMAGE, recipe=recipe)
    installing = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads: list[threading.Thread] = []

    def on_status(status: ServiceStatus) -> None:
        threads.append(threading.current_thread())
        if "step 8" in status.detail:
            loop.call_soon_threadsafe(installing.set)

    with contextlib.closing(docker.from_env()) as client:
        before = {found.id for found in client.containers.list()}
        building = asyncio.create_task(image.ensure(on_status))
        await asyncio.wait_for(installing.wait(), patient(120))
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        reported = len(threads)
        await until(
            lambda: {found.id for found in client.containers.list()} <= before,
            40,
            "the build's containers are gone",
        )
    assert len(threads) == reported and engine.images.find(image.tag) is None
