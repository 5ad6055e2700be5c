"""The Expo image of one SDK and home: built from our Dockerfile, and again when what it is made of changes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mobvibe_app.environment.container_spec import HOME_LABEL, SERVICE_LABEL
from mobvibe_app.environment.docker_engine import DockerEngine
from mobvibe_worker.errors import InputError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.toolchain.sdks import Sdk

BUILD_SECONDS = 1200.0
_STEP = re.compile(r"^Step (\d+)/(\d+) : (\w+)")
_WARM = re.compile(r"^warm: (\w+)")
_FETCHED = re.compile(r"npm http (?:fetch GET 200|cache) \S+\.tgz")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

OnProgress = Callable[[str, float | None], None]
"""(what is being done, 0..1 where it is known)."""


class ExpoImage:
    """One SDK's image. `files` are the starter's; `base` is an image that has Node and npm."""

    def __init__(
        self,
        engine: DockerEngine,
        home_id: str,
        sdk: Sdk,
        files: FileTree,
        *,
        base: str,
        ca_bundle: Path | None = None,
    ) -> None:
        self._engine = engine
        self._home_id = home_id
        self._sdk = sdk
        self._base = base
        self._ca_bundle = ca_bundle
        self._context = _context(files)
        self._fetched = 0

    @property
    def tag(self) -> str:
        """Its name: another one for other inputs. The certificates are none: they serve the build only."""
        digest = hashlib.sha256(f"{self._home_id} {self._base}".encode())
        for name, content in sorted(self._context.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return f"mobvibe-expo-{self._sdk.version}:{digest.hexdigest()[:16]}"

    async def ensure(self, on_progress: OnProgress, *, time_limit: float = BUILD_SECONDS) -> str:
        """The tag, after the image was built where the engine lacks it. Raises ServiceError, InputError."""
        tag = self.tag
        if await asyncio.to_thread(self._engine.image_id, tag) is None:
            await asyncio.to_thread(self._build, tag, on_progress, time_limit)
        return tag

    def _build(self, tag: str, on_progress: OnProgress, time_limit: float) -> None:
        if self._engine.image_id(self._base) is None:
            self._engine.pull(
                self._base, lambda got, all_: on_progress(_megabytes(got), got / all_)
            )
        self._fetched = 0
        self._engine.build(
            tag,
            {**self._context, "ca.crt": self._certificates()},
            arguments={"BASE_IMAGE": self._base, **_network_settings()},
            labels={HOME_LABEL: self._home_id, SERVICE_LABEL: f"expo-{self._sdk.version}"},
            on_line=lambda line: self._hear(line, on_progress),
            time_limit=time_limit,
        )

    def _hear(self, line: str, on_progress: OnProgress) -> None:
        """npm takes the first half of a build, the transform cache the second."""
        if match := _STEP.match(line):
            on_progress(f"building the image, step {match[1]} of {match[2]}", None)
        elif match := _WARM.match(line):
            done = {"ios": 0.75, "android": 0.95, "web": 1.0}
            on_progress(f"warmed for {match[1]}", done.get(match[1]))
        elif _FETCHED.search(line):
            self._fetched += 1
            done_part = 0.5 * min(self._fetched / self._sdk.packages, 1.0)
            on_progress(f"building the image, {self._fetched} packages", done_part)

    def _certificates(self) -> bytes:
        if self._ca_bundle is None:
            return b""
        try:
            return self._ca_bundle.read_bytes()
        except OSError as error:
            raise InputError(
                f"The certificates of {self._ca_bundle} cannot be read: {error.strerror}.",
                "Set MOBVIBE_CA_BUNDLE or NODE_EXTRA_CA_CERTS to a file that can.",
            ) from error


def _context(files: FileTree) -> Mapping[str, bytes]:
    """What goes into the build, but for the certificates."""
    place = Path(__file__).with_name("expo_image")
    return {
        "Dockerfile": (place / "Dockerfile").read_bytes(),
        "warm.mjs": (place / "warm.mjs").read_bytes(),
        "package.json": files["package.json"],
        **{f"project/{path}": content for path, content in files.items()},
    }


def _network_settings() -> dict[str, str]:
    """The person's proxies and registry; their tokens stay here."""
    found = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    registries = [
        value for name, value in os.environ.items() if name.lower() == "npm_config_registry"
    ]
    # One with a password in it would stay readable in the image's history.
    if registries and not urlsplit(registries[0]).password:
        found["NPM_CONFIG_REGISTRY"] = registries[0]
    return found


def _megabytes(count: int) -> str:
    return f"pulling the base image, {count / 1e6:.0f} MB"
