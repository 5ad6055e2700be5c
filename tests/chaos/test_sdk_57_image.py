"""Builds the image of SDK 57 from nothing, with the wheel's Node, and serves a bundle to a phone."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.preview.network import lan_address
from mobvibe_app.preview.providers.container import ContainerPreview
from mobvibe_app.preview.providers.expo_image import ExpoImage
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.workspace.publish import ServedFolder
from support.containers.engine import BASE_IMAGE
from support.containers.expo_images import certificates
from support.expo import ExpoSdk, make_home
from support.phone import Phone

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.expo,
    pytest.mark.docker,
    pytest.mark.timeout(1800),
]


def test_sdk_57_is_built_and_serves_a_bundle(engine: DockerEngine, tmp_path: Path) -> None:
    expo = ExpoSdk(make_home(tmp_path / "home", 57, warm=False), 57)
    home_id = secrets.token_hex(4)
    image = ExpoImage(
        engine,
        home_id,
        expo.sdk,
        expo.starter.files("Warm-up", "warm-up"),
        base=BASE_IMAGE,
        ca_bundle=certificates(),
    )
    reported: list[ServiceStatus] = []
    began = time.monotonic()
    tag = asyncio.run(image.ensure(reported.append))
    print(f"SDK 57: image built in {time.monotonic() - began:.0f} s")
    shares = [one.progress for one in reported if one.progress is not None]
    assert {one.state for one in reported} == {"building"} and shares == sorted(shares)
    assert {f"the image of SDK 57: warmed for {one}" for one in ("ios", "android", "web")} <= {
        one.detail for one in reported
    }
    asyncio.run(_serve(expo, engine, home_id, tag))
    removed = engine.remove_labelled(home_id)
    assert removed.images == (tag,) and removed.networks


async def _serve(expo: ExpoSdk, engine: DockerEngine, home_id: str, tag: str) -> None:
    served = ServedFolder(expo.folder.served("newer"))
    served.publish(expo.starter.files("Newer", "newer"))
    host = lan_address()
    async with await Supervisor.connect(expo.home) as supervisor:
        previews = ContainerPreview(
            expo.home, supervisor, expo.sdk, engine, home_id=home_id, image=tag
        )
        began = time.monotonic()
        preview = await previews.start("newer", address=host)
        phone = Phone(f"exp://{host}:{preview.port}")
        assert (await phone.manifest())["runtimeVersion"] == "exposdk:57.0.0"
        assert b"Open up App.tsx" in await phone.bundle()
        print(f"SDK 57: container to first bundle in {time.monotonic() - began:.1f} s")
        await supervisor.shutdown()
