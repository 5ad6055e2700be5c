"""A build that nobody waits for any more ends, so that the program can end too."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading

import docker
import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.preview.providers.expo_image import ExpoImage
from mobvibe_app.status import ServiceStatus
from support.containers.engine import BASE_IMAGE
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.polling import patient, until

pytestmark = [pytest.mark.docker, pytest.mark.expo, pytest.mark.timeout(300)]


async def test_a_build_that_is_cancelled_ends_within_seconds(
    engine: DockerEngine, expo_sdk: ExpoSdk
) -> None:
    files = expo_sdk.starter.files("Given up", f"given-up-{secrets.token_hex(4)}")
    image = ExpoImage(engine, secrets.token_hex(4), expo_sdk.sdk, files, base=BASE_IMAGE)
    installing = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads: list[threading.Thread] = []

    def hear(status: ServiceStatus) -> None:
        threads.append(threading.current_thread())
        if "step 7" in status.detail:
            loop.call_soon_threadsafe(installing.set)

    with contextlib.closing(docker.from_env()) as client:
        before = {found.id for found in client.containers.list()}
        building = asyncio.create_task(image.ensure(hear, is_fresh=True))
        await asyncio.wait_for(installing.wait(), patient(120))
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        heard = len(threads)
        await until(
            lambda: {found.id for found in client.containers.list()} <= before, 40, "it ended"
        )
    assert len(threads) == heard and engine.images.find(image.tag) is None
