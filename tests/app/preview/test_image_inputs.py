"""The inputs of an image or container hold no secret and nothing incomplete; no engine is needed."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import cast

import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.postgres.container_parts import PostgresParts
from mobvibe_app.preview.providers.expo_image import network_settings
from mobvibe_app.preview.providers.extra_packages import ExtraPackages
from mobvibe_worker.home import Home

NO_ENGINE = cast(DockerEngine, None)


@pytest.mark.parametrize(
    ("registry", "is_passed"),
    [
        ("https://npm.example.org/a/", True),
        ("https://me:secret@npm.example.org/", False),
        ("https://token@npm.example.org/", False),
        ("https://[broken", True),
    ],
)
def test_a_registrys_secret_stays_out_of_an_images_history(
    registry: str, is_passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry)
    assert ("NPM_CONFIG_REGISTRY" in network_settings()) is is_passed


@pytest.mark.parametrize("manifest", [b"[" * 90_000, b"\xff", b"[]", b'{"dependencies": 1}'])
async def test_an_unreadable_manifest_adds_no_packages(manifest: bytes, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_bytes(manifest)
    extra = ExtraPackages(NO_ENGINE, b"{}", None, lambda status: None)
    assert await extra.image("the-sdk-s", tmp_path) == "the-sdk-s"


def test_a_password_that_a_full_disk_cut_short_is_recreated(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    parts = PostgresParts(home, NO_ENGINE, "cafe", "postgres:18")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            parts.password()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    made = parts.password()
    assert len(made) > 20 and parts.password() == made
    assert parts.password_path.stat().st_mode & 0o777 == 0o600
