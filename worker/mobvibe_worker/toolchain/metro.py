"""Expo's dev server: its command line, its environment and an HTTP client."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, Self
from urllib.parse import urlsplit

import httpx2

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import SdkFolder
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.workspace.metro_view import USER_AGENT

BundlePlatform = Literal["ios", "android"]

WATCH_PROJECT = Path(__file__).with_name("watch_project.cjs")
"""Preloaded into Metro's Node, so that Metro watches only the project."""
NODE_FLAGS = ("--max-semi-space-size=32",)
"""Metro creates much garbage in its first seconds. A larger young generation (MB) means fewer collections."""
_QUICK_SECONDS = 30.0
_SCRIPT = re.compile(rb'<script[^>]*\bsrc="([^"]+)"')


def dev_server(modules: PurePath, port: int) -> tuple[str, ...]:
    """Node's arguments that serve the project in the current folder on every address."""
    return (str(modules / "expo" / "bin" / "cli"), "start", "--lan", "--port", str(port))


def metro_environment(node: Node, folder: SdkFolder) -> dict[str, str]:
    """Metro's whole environment: no key, no DATABASE_URL, and all its files in the SDK's folder."""
    return allowed_environment(
        {
            "PATH": node.path_with_node(),
            "HOME": str(folder.node_home),
            "TMPDIR": str(folder.cache),
            "EXPO_OFFLINE": "1",
            "EXPO_NO_TELEMETRY": "1",
            "EXPO_NO_DEPENDENCY_VALIDATION": "1",
            "EXPO_NO_TYPESCRIPT_SETUP": "1",
            "EXPO_NO_GIT_STATUS": "1",
            "EXPO_UNSTABLE_BONJOUR": "0",
            "NO_COLOR": "1",
        }
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """Metro's answer to Expo Go: the bundle's URL, and the SDK it is for."""

    bundle_url: str
    host: str
    """The host:port that the phone will load from."""
    runtime_version: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """The answer to a bundle's URL. `body` is the JavaScript, or Metro's error as JSON."""

    status: int
    body: bytes

    @property
    def is_green(self) -> bool:
        return self.status == 200


class MetroClient:
    """Talks to one Metro as Expo Go does. Metro puts `host` into the addresses of its manifest."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._base = f"http://{host}:{port}"
        # trust_env=False, as requests to this machine must not go through the network's proxy. verify=False, as plain
        # HTTP needs no certificates, and loading them takes 0.1 s.
        self._http = httpx2.AsyncClient(
            trust_env=False,
            verify=False,
            timeout=_QUICK_SECONDS,
            headers={"user-agent": USER_AGENT},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def is_running(self) -> bool:
        """Whether Metro answers on /status, which it also does while the app does not compile."""
        try:
            answer = await self._http.get(f"{self._base}/status", timeout=5.0)
        except httpx2.HTTPError:
            return False
        return answer.status_code == 200 and "packager-status:running" in answer.text

    async def manifest(self, platform: BundlePlatform, *, asked_as: str | None = None) -> Manifest:
        """Fetch the manifest for this platform. `asked_as` is the host:port that a phone would use.

        Raises ServiceError if the answer is not a manifest.
        """
        headers = {"expo-platform": platform, "accept": "application/expo+json,application/json"}
        if asked_as is not None:
            headers["host"] = asked_as
        try:
            answer = await self._http.get(f"{self._base}/", headers=headers)
            manifest = answer.json()
            url = str(manifest["launchAsset"]["url"])
            return Manifest(url, urlsplit(url).netloc, str(manifest["runtimeVersion"]))
        except (httpx2.HTTPError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise ServiceError(
                f"Metro gave no manifest for {platform} ({type(error).__name__}).",
                "Start the preview again.",
            ) from error

    async def bundle(self, url: str, *, time_limit: float) -> Bundle:
        """Fetch the bundle, which may take `time_limit` seconds to compile. Raises ServiceError if Metro fails."""
        try:
            answer = await self._http.get(url, timeout=httpx2.Timeout(time_limit, connect=5.0))
        except httpx2.HTTPError as error:
            raise ServiceError(
                f"Metro gave no bundle ({type(error).__name__}).", "It is retried automatically."
            ) from error
        return Bundle(answer.status_code, answer.content)

    async def web_bundle_url(self) -> str:
        """The URL of the web page's script. Raises ServiceError if the page has none."""
        try:
            answer = await self._http.get(f"{self._base}/", headers={"accept": "text/html"})
        except httpx2.HTTPError as error:
            raise ServiceError("Metro gave no web page.", "Start the preview again.") from error
        match = _SCRIPT.search(answer.content)
        if match is None:
            raise ServiceError("Metro's web page has no script.", "Start the preview again.")
        return f"{self._base}{match[1].decode().replace('&amp;', '&')}"


def last_words(log: str, limit: int = 600) -> str:
    """The end of Metro's log on one line, without stack traces; at most `limit` characters."""
    lines = [line.strip() for line in clean_text(log).splitlines()]
    text = " / ".join(line for line in lines if line and not line.startswith(("at ", "Node.js v")))
    return text[-limit:] or "it gave no reason"
