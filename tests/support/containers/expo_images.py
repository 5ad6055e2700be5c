"""Builds the Expo image. Its layers are cached, so only the first run on a machine builds all of them."""

from __future__ import annotations

import os
from pathlib import Path

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.preview.providers.expo_image import ExpoImage
from support.containers.engine import BASE_IMAGE
from support.expo import ExpoSdk

IMAGE_OWNER = "tests"
"""The id of the home that owns the image. Builds for other homes reuse its layers."""


def certificates() -> Path | None:
    """The file of extra certificates that builds on this machine must trust."""
    named = os.environ.get("NODE_EXTRA_CA_CERTS")
    return Path(named) if named else None


async def cached_image(engine: DockerEngine, expo: ExpoSdk) -> str:
    """Build the image if the engine lacks it. Returns its tag."""
    image = ExpoImage(
        engine,
        IMAGE_OWNER,
        expo.sdk,
        expo.starter.files("Warm-up", "warm-up"),
        base=BASE_IMAGE,
        ca_bundle=certificates(),
    )
    return await image.ensure(lambda status: None)
