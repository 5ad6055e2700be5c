"""Adds the packages that a project needs beyond its SDK's, as one more layer on the SDK's image."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.preview.providers.expo_image import certificates, network_settings, require_wanted
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_worker.errors import ServiceError

_BUILD_SECONDS = 300.0
_NAME = re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_VERSION = re.compile(r"[0-9a-zA-Z.~^<>=|* +-]{1,80}")
"""A version range of npm's registry, and not an address, a file or a repository."""
_LARGEST_MANIFEST = 100_000
_DOCKERFILE = """\
FROM {image}
USER root
ARG NPM_CONFIG_REGISTRY
WORKDIR /srv
COPY package.json ca.crt ./
RUN if [ -s ca.crt ]; then export NODE_EXTRA_CA_CERTS=/srv/ca.crt; fi \\
 && npm install --ignore-scripts --no-package-lock --no-audit --no-fund --no-update-notifier --no-progress \\
      --loglevel=http --fetch-retries=1 --fetch-timeout=30000 && rm -rf home/.npm ca.crt
WORKDIR /srv/app
USER 1000:1000
"""


class ExtraPackages:
    """Builds images for projects that need more than the starter's `manifest` (its package.json) lists."""

    def __init__(
        self, engine: DockerEngine, manifest: bytes, ca_bundle: Path | None, on_status: OnStatus
    ) -> None:
        self._engine = engine
        self._manifest: dict[str, Any] = json.loads(manifest)
        self._ca_bundle = ca_bundle
        self._on_status = on_status

    async def image(self, image: str, served: Path) -> str:
        """The image to serve that folder from, which is `image` itself or one built from it. Raises ServiceError.

        If this is cancelled, the build ends within seconds.
        """
        extra = await asyncio.to_thread(self._extra, served)
        if not extra:
            return image
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(self._build, image, extra, given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise

    def _extra(self, served: Path) -> dict[str, str]:
        """The packages that the folder's package.json adds; none if it cannot be read, which Metro then reports."""
        try:
            with (served / "package.json").open("rb") as file:
                manifest = json.loads(file.read(_LARGEST_MANIFEST))
        except (OSError, ValueError, RecursionError):
            return {}
        asked = manifest.get("dependencies") if isinstance(manifest, dict) else None
        known = self._manifest.get("dependencies", {})
        if not isinstance(asked, dict):
            return {}
        extra = {name: wanted for name, wanted in asked.items() if name not in known}
        for name, wanted in extra.items():
            is_text = isinstance(wanted, str) and _VERSION.fullmatch(wanted) is not None
            if _NAME.fullmatch(name) is None or not is_text:
                raise ServiceError(
                    f"The package {name[:100]!r} of {served.name} cannot be installed: no version in npm's registry.",
                    "Give it one in package.json, such as ~1.2.3, or take it out.",
                )
        return extra

    def _build(self, image: str, extra: Mapping[str, str], given_up: threading.Event) -> str:
        base = self._engine.images.find(image)
        dependencies = {**self._manifest.get("dependencies", {}), **dict(sorted(extra.items()))}
        manifest = json.dumps({**self._manifest, "dependencies": dependencies}).encode()
        inputs = f"{base.id if base else image} {_DOCKERFILE}".encode() + manifest
        tag = f"{image.partition(':')[0]}-extra:{hashlib.sha256(inputs).hexdigest()[:16]}"
        if self._engine.images.find(tag) is None:
            names = ", ".join(sorted(extra))
            self._on_status(ServiceStatus("preview", "building", f"installing {names[:200]}"))
            self._engine.images.build(
                tag,
                {
                    "Dockerfile": _DOCKERFILE.format(image=image).encode(),
                    "package.json": manifest,
                    "ca.crt": certificates(self._ca_bundle),
                },
                arguments=network_settings(),
                labels={},
                on_line=lambda line: require_wanted(given_up),
                time_limit=_BUILD_SECONDS,
            )
        return tag
