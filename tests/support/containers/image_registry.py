"""An image registry on loopback (Debian's docker-registry) that offers images of random bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from mobvibe_app.containers.images import tar_of
from mobvibe_app.supervisor.ports import is_free, pick_port
from support.polling import patient

_START_SECONDS = 20.0
_CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {place}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class ImageRegistry:
    """One running registry."""

    def __init__(self, place: Path) -> None:
        self.port = pick_port(None)
        place.mkdir()
        config = place / "config.yml"
        config.write_text(_CONFIG.format(place=place / "data", port=self.port))
        with (place / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ("docker-registry", "serve", str(config)), stdout=log, stderr=log
            )
        deadline = time.monotonic() + patient(_START_SECONDS)
        while is_free(self.port):
            assert time.monotonic() < deadline, (place / "log").read_text()
            time.sleep(0.05)

    def name(self, image: str) -> str:
        """The full name of an image in this registry."""
        return f"127.0.0.1:{self.port}/{image}"

    def offer(self, client: docker.DockerClient, image: str, sizes: tuple[int, ...]) -> str:
        """Push an image with one layer of random bytes per size, remove it from the engine, and return its name."""
        name = self.name(image)
        lines = [f"COPY part{number} /part{number}" for number in range(len(sizes))]
        files = {f"part{number}": os.urandom(size) for number, size in enumerate(sizes)}
        files["Dockerfile"] = "\n".join(("FROM scratch", *lines)).encode()
        client.images.build(fileobj=tar_of(files), custom_context=True, tag=name, rm=True)
        for line in client.api.push(name, stream=True, decode=True):
            assert "error" not in line, line
        client.images.remove(name)
        return name

    def stop(self) -> None:
        """Stop the registry. Idempotent."""
        self._process.terminate()
        self._process.wait(patient(20))


@contextlib.contextmanager
def _running(place: Path) -> Iterator[ImageRegistry]:
    registry = ImageRegistry(place)
    try:
        yield registry
    finally:
        registry.stop()


@pytest.fixture
def image_registry(tmp_path: Path) -> Iterator[ImageRegistry]:
    """A registry for one test. Without docker-registry the test is skipped; in CI it fails."""
    if shutil.which("docker-registry") is None:
        assert os.environ.get("CI") not in ("1", "true"), "apt-get install docker-registry"
        pytest.skip("needs docker-registry")
    with _running(tmp_path / "registry") as registry:
        yield registry
