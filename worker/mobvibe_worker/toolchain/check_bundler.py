"""One Metro for the life of a job: says whether the staged files compile, never from what they were before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import SdkFolder
from mobvibe_worker.revisions import Check, Problem
from mobvibe_worker.toolchain.bundle_problems import parse_problems
from mobvibe_worker.toolchain.known_folders import KnownFolders
from mobvibe_worker.toolchain.metro import Bundle, BundlePlatform
from mobvibe_worker.toolchain.metro_process import MetroProcess
from mobvibe_worker.toolchain.node import Node

SMALLEST_BUNDLE = 500_000
"""A development bundle of React Native itself is larger, in bytes; less means that something was left out."""
_COMPILE_SECONDS = 300.0
_SEEN_SECONDS = 20.0
_POLL_SECONDS = 0.02
_HIDDEN = ".mobvibe"


class CheckBundler:
    """Compiles a staged folder. It starts with `async with`, and warms up while the model thinks."""

    def __init__(self, staged_root: Path, folder: SdkFolder, node: Node) -> None:
        # Node names files by their real paths, which are others where the home lies behind a link (as /tmp on macOS).
        self._root = staged_root.resolve()
        self._folder = folder
        self._node = node
        self._metro: MetroProcess | None = None
        self._folders = KnownFolders(self._root)
        self._marker = self._root / _HIDDEN / "marker.js"
        self._urls: dict[BundlePlatform, str] = {}
        self._compiling = asyncio.Lock()
        self._warming: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._warming = asyncio.create_task(self._warm(), name="warm the check bundler")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self._metro is not None:
            await self._metro.stop()
        self._folders.close()

    @property
    def pid(self) -> int | None:
        """The running Metro's process group, or None."""
        return self._metro.pid if self._metro is not None and self._metro.is_alive else None

    async def compile(self, platform: BundlePlatform) -> Check:
        """Whether the files as they are on disk now compile for this platform.

        A Metro that died is started again, once. Raises ServiceError when that fails too.
        """
        started = time.monotonic()
        async with self._compiling:
            try:
                bundle = await self._bundle(platform)
            except ServiceError:
                bundle = await self._bundle(platform)
        return self._judge(platform, bundle, time.monotonic() - started)

    async def _bundle(self, platform: BundlePlatform) -> Bundle:
        difference = self._folders.look()
        if self._metro is not None and (difference.hides_files or not self._marker.is_file()):
            await self._forget(self._metro)
        metro = await self._running()
        try:
            await self._until_seen(metro, platform, difference.added)
            if platform not in self._urls:
                self._urls[platform] = (await metro.client.manifest(platform)).bundle_url
            return await metro.client.bundle(self._urls[platform], time_limit=_COMPILE_SECONDS)
        except ServiceError:
            await self._forget(metro)
            raise

    async def _running(self) -> MetroProcess:
        if self._metro is not None and not self._metro.is_alive:
            await self._forget(self._metro)
        if self._metro is None:
            self._write_marker("start")
            self._metro = await MetroProcess.start(self._root, self._folder, self._node)
        return self._metro

    async def _forget(self, metro: MetroProcess) -> None:
        if self._metro is metro:
            self._metro = None
            self._urls.clear()
        await metro.stop()

    async def _warm(self) -> None:
        """What goes wrong here goes wrong again in `compile`, and is told there."""
        with contextlib.suppress(ServiceError):
            for platform in ("ios", "android"):
                await self.compile(platform)

    async def _until_seen(
        self, metro: MetroProcess, platform: BundlePlatform, added: Sequence[Path]
    ) -> None:
        """Return when Metro's watcher has worked through all that was written before this call.

        Events reach Metro in the order of the writes, but for two holes: it looks at each changed file on its own,
        so neighbours may swap places, and a file that appears in a new folder before Metro watches it is missed.
        So a marker is written and waited for; then the files of new folders are touched; then a second marker.
        """
        await self._pass_marker(metro, platform)
        for folder in added:
            for file in folder.iterdir():
                if file.is_file() and not file.is_symlink():
                    os.utime(file)
        await self._pass_marker(metro, platform)

    async def _pass_marker(self, metro: MetroProcess, platform: BundlePlatform) -> None:
        mark = self._write_marker(uuid4().hex)
        url = metro.client.url(
            f"/{_HIDDEN}/marker.bundle?platform={platform}&dev=true&modulesOnly=true&runModule=false"
        )
        deadline = time.monotonic() + _SEEN_SECONDS
        while True:
            bundle = await metro.client.bundle(url, time_limit=_SEEN_SECONDS)
            if mark in bundle.body:
                return
            if time.monotonic() > deadline:
                raise ServiceError(
                    "Metro does not see that files change.",
                    "On Linux raise fs.inotify.max_user_watches, then retry the job.",
                )
            await asyncio.sleep(_POLL_SECONDS)

    def _write_marker(self, mark: str) -> bytes:
        """Not kept by revisions: its folder is hidden."""
        self._marker.parent.mkdir(exist_ok=True)
        self._marker.write_text(f"module.exports = '{mark}';\n", encoding="utf-8")
        return mark.encode()

    def _judge(self, platform: BundlePlatform, bundle: Bundle, seconds: float) -> Check:
        size = len(bundle.body)
        if not bundle.is_green:
            return Check(platform, False, seconds, parse_problems(bundle.body, self._root))
        if size < SMALLEST_BUNDLE:
            small = Problem(f"The bundle holds only {size} bytes: App.tsx or index.ts is cut off.")
            return Check(platform, False, seconds, (small,), size)
        return Check(platform, True, seconds, (), size)
