"""The Expo image on a real engine is rebuilt if it was removed, and refused if its base image is too old."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.spec import HOME_LABEL, SERVICE_LABEL
from mobvibe_app.preview.providers.expo_image import ExpoImage
from mobvibe_app.status import ServiceStatus
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.toolchain.sdks import sdk
from support.containers.engine import BASE_IMAGE
from support.polling import patient

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def test_a_removed_image_is_rebuilt_and_one_of_older_inputs_is_deleted(
    engine: DockerEngine, tmp_path: Path
) -> None:
    """Uses a Dockerfile that builds in a second."""
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY package.json /\n"
    )
    (tmp_path / "warm.mjs").write_text("")
    home = secrets.token_hex(4)
    labels = {HOME_LABEL: home, SERVICE_LABEL: "expo-54"}
    small = {"Dockerfile": f"FROM {BASE_IMAGE}\nLABEL a=b".encode()}
    engine.images.build(
        f"mobvibe-expo-54:old{home}",
        small,
        arguments={},
        labels=labels,
        on_line=lambda line: None,
        time_limit=patient(60),
    )
    files = {"package.json": b"{}"}
    image = ExpoImage(engine, home, sdk(54), files, base=BASE_IMAGE, recipe=tmp_path)
    reported: list[ServiceStatus] = []
    tag = asyncio.run(image.ensure(reported.append))
    assert {one.state for one in reported} == {"building"}
    assert [one.tags for one in engine.images.labelled(home)] == [(tag,)]
    assert engine.images.remove(tag)
    assert asyncio.run(image.ensure(reported.append)) == tag
    assert engine.remove_labelled(home).images == (tag,)


def test_a_base_image_whose_node_is_too_old_is_refused_before_the_build(
    engine: DockerEngine,
) -> None:
    old = "mobvibe-test-old-node"
    dockerfile = {"Dockerfile": f"FROM {BASE_IMAGE}\nENV NODE_VERSION=18.20.1".encode()}
    engine.images.build(
        old, dockerfile, arguments={}, labels={}, on_line=lambda line: None, time_limit=patient(60)
    )
    image = ExpoImage(engine, "tests", sdk(57), {"package.json": b"{}"}, base=old)
    with pytest.raises(ServiceError, match=r"holds Node 18.20.1; Expo SDK 57 needs 22.13"):
        asyncio.run(image.ensure(lambda status: None))
    assert engine.images.remove(old)
