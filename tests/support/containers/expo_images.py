"""The Expo image whose layers the tests keep, so that only the first run on a machine builds it from nothing."""

from __future__ import annotations

import os
from pathlib import Path

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.preview.expo_image import ExpoImage
from support.containers.engine import BASE_IMAGE
from support.expo import ExpoSdk

KEPT_BY_TESTS = "tests"
"""The id of the home that the image belongs to; other homes' builds find its layers."""


def certificates() -> Path | None:
    """What this machine's builds have to trust."""
    named = os.environ.get("NODE_EXTRA_CA_CERTS")
    return Path(named) if named else None


async def kept_image(engine: DockerEngine, expo: ExpoSdk) -> str:
    """The image's tag, after it was built where the engine lacks it."""
    image = ExpoImage(
        engine,
        KEPT_BY_TESTS,
        expo.sdk,
        expo.starter.files("Warm-up", "warm-up"),
        base=BASE_IMAGE,
        ca_bundle=certificates(),
    )
    return await image.ensure(lambda status: None)
