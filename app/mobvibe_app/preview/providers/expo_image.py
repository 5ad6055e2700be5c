"""The Expo image of one SDK and home, rebuilt when the inputs of its Dockerfile change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobvibe_app.containers.spec import HOME_LABEL, SERVICE_LABEL
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_worker.errors import InputError, ServiceError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.toolchain.sdks import Sdk

if TYPE_CHECKING:
    from mobvibe_app.containers.engine import DockerEngine

BUILD_SECONDS = 1200.0
_STEP = re.compile(r"^Step (\d+)/(\d+) : (\w+)")
_WARM = re.compile(r"^warm: (\w+)")
_FETCHED = re.compile(r"npm http (?:fetch GET 200|cache) (\S+\.tgz)")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class ExpoImage:
    """One SDK's image. `files` are the starter's, `base` has Node and npm, `recipe` is the Dockerfile's folder."""

    def __init__(
        self,
        engine: DockerEngine,
        home_id: str,
        sdk: Sdk,
        files: FileTree,
        *,
        base: str,
        ca_bundle: Path | None = None,
        recipe: Path | None = None,
    ) -> None:
        self._engine = engine
        self._home_id = home_id
        self._sdk = sdk
        self._base = base
        self._ca_bundle = ca_bundle
        self._context = _context(sdk, files, recipe or Path(__file__).with_name("expo_image"))
        self._packages = sdk.count_packages()
        self._fetched: set[str] = set()

    @property
    def tag(self) -> str:
        """Its name, which depends on the inputs except the certificates; those serve only the build."""
        digest = hashlib.sha256(f"{self._home_id} {self._base}".encode())
        for name, content in sorted(self._context.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return f"mobvibe-expo-{self._sdk.version}:{digest.hexdigest()[:16]}"

    @property
    def service(self) -> str:
        """The value of its service label."""
        return f"expo-{self._sdk.version}"

    async def ensure(
        self, on_status: OnStatus, *, time_limit: float = BUILD_SECONDS, is_fresh: bool = False
    ) -> str:
        """Build the image if the engine lacks it, or with `is_fresh` in any case; returns its tag.

        A build removes the images of earlier inputs. If this is cancelled, the build ends within seconds.
        Raises ServiceError, InputError.
        """
        tag = self.tag
        given_up = threading.Event()
        try:
            if is_fresh or await asyncio.to_thread(self._engine.images.find, tag) is None:
                build = partial(self._build, tag, on_status, time_limit, is_fresh, given_up)
                await asyncio.to_thread(build)
                await asyncio.to_thread(self._remove_older, tag)
        except asyncio.CancelledError:
            given_up.set()
            raise
        return tag

    def _build(
        self,
        tag: str,
        on_status: OnStatus,
        time_limit: float,
        is_fresh: bool,
        given_up: threading.Event,
    ) -> None:
        def report(status: ServiceStatus) -> None:
            require_wanted(given_up)
            on_status(status)

        def on_line(line: str) -> None:
            require_wanted(given_up)
            self._read(line, on_status)

        if self._engine.images.find(self._base) is None:
            self._engine.images.pull(self._base, "preview", report)
        self._require_node()
        self._fetched.clear()
        self._engine.images.build(
            tag,
            {**self._context, "ca.crt": certificates(self._ca_bundle)},
            arguments={"BASE_IMAGE": self._base, **network_settings()},
            labels={HOME_LABEL: self._home_id, SERVICE_LABEL: self.service},
            on_line=on_line,
            time_limit=time_limit,
            is_fresh=is_fresh,
        )

    def _require_node(self) -> None:
        """Check the version of an official Node image, because the build would fail late with an unclear error."""
        base = self._engine.images.find(self._base)
        version = "" if base is None else base.environment.get("NODE_VERSION", "")
        found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if len(found) == 2 and found < self._sdk.minimum_node:
            wanted = ".".join(map(str, self._sdk.minimum_node))
            raise ServiceError(
                f"The base image {self._base} holds Node {version}; Expo SDK {self._sdk.version} needs {wanted}.",
                "Set MOBVIBE_EXPO_BASE_IMAGE to a newer one, such as node:24-bookworm-slim.",
            )

    def _remove_older(self, tag: str) -> None:
        """Remove this SDK's and home's images of other inputs, except those that a container still uses."""
        for image in self._engine.images.labelled(self._home_id):
            if image.labels.get(SERVICE_LABEL) == self.service and tag not in image.tags:
                self._engine.images.remove(image.id)

    def _read(self, line: str, on_status: OnStatus) -> None:
        """Report progress: npm takes the first half of a build, the transform cache the second."""
        if match := _STEP.match(line):
            self._report(on_status, f"step {match[1]} of {match[2]}", None)
        elif match := _WARM.match(line):
            done = {"ios": 0.75, "android": 0.95, "web": 1.0}
            self._report(on_status, f"warmed for {match[1]}", done.get(match[1]))
        elif match := _FETCHED.search(line):
            self._fetched.add(match[1])
            count = len(self._fetched)
            self._report(on_status, f"{count} packages", 0.5 * min(count / self._packages, 1.0))

    def _report(self, on_status: OnStatus, what: str, done: float | None) -> None:
        words = f"the image of SDK {self._sdk.version}: {what}"
        on_status(ServiceStatus("preview", "building", words, progress=done))


def require_wanted(given_up: threading.Event) -> None:
    """End a build or a pull, from its thread, if it was given up. Raises ServiceError."""
    if given_up.is_set():
        raise ServiceError("The image's build was given up.")


def certificates(bundle: Path | None) -> bytes:
    """The certificates that a build trusts in addition. Raises InputError if the file cannot be read."""
    if bundle is None:
        return b""
    try:
        return bundle.read_bytes()
    except OSError as error:
        raise InputError(
            f"The certificates of {bundle} cannot be read: {error.strerror}.",
            "Set MOBVIBE_CA_BUNDLE or NODE_EXTRA_CA_CERTS to a file that can.",
        ) from error


def _context(sdk: Sdk, files: FileTree, recipe: Path) -> Mapping[str, bytes]:
    """The files of the build, except the certificates."""
    return {
        "Dockerfile": (recipe / "Dockerfile").read_bytes(),
        "warm.mjs": (recipe / "warm.mjs").read_bytes(),
        "package.json": files["package.json"],
        "package-lock.json": sdk.lock,
        **{f"project/{path}": content for path, content in files.items()},
    }


def network_settings() -> dict[str, str]:
    """The person's proxies and registry for a build, without secrets."""
    found = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    registries = [
        value for name, value in os.environ.items() if name.lower() == "npm_config_registry"
    ]
    # A password or token in it would stay readable in the image's history.
    if registries and "@" not in registries[0]:
        found["NPM_CONFIG_REGISTRY"] = registries[0]
    return found
