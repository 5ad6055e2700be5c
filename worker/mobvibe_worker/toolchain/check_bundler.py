"""Compiles the staged files with one Metro per job, always in their current state."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.revisions import Check, Problem
from mobvibe_worker.toolchain.bundle_problems import parse_problems
from mobvibe_worker.toolchain.known_folders import KnownFolders
from mobvibe_worker.toolchain.metro import Bundle, BundlePlatform
from mobvibe_worker.toolchain.metro_process import MetroProcess
from mobvibe_worker.workspace.metro_view import MetroView

if TYPE_CHECKING:
    from mobvibe_worker.toolchain.commands import CommandRunner
    from mobvibe_worker.toolchain.sandbox import StagedCommands

SMALLEST_BUNDLE = 500_000
"""Bytes. React Native alone makes a larger development bundle, so a smaller one is incomplete."""
_COMPILE_SECONDS = 300.0
_NOTICE_SECONDS = 20.0
"""How long Metro may take to notice a file, even on a busy machine; after that the file was missed."""


class CheckBundler:
    """Compiles a staged folder. `async with` starts it, and it warms up while the model thinks."""

    def __init__(self, staged_root: Path, commands: StagedCommands) -> None:
        self._root = staged_root.resolve()
        self._commands = commands
        self._metro: MetroProcess | None = None
        self._folders = KnownFolders(self._root)
        self._urls: dict[BundlePlatform, str] = {}
        self._compiling = asyncio.Lock()
        self._warming: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._warming = asyncio.create_task(self._warm(), name="warm the check bundler")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._warming is not None:
                self._warming.cancel()
                await asyncio.gather(self._warming, return_exceptions=True)
        finally:
            self._folders.close()
            if self._metro is not None:
                await self._metro.stop()

    @property
    def pid(self) -> int | None:
        """The running Metro's process group; None if no Metro runs on this machine."""
        return self._metro.pid if self._metro is not None and self._metro.is_alive else None

    async def compile(self, platform: BundlePlatform) -> Check:
        """Check whether the files compile for this platform as they are on disk now.

        Metro is restarted once if it fails. Raises ServiceError if it fails again.
        """
        runner = await self._commands.runner()
        started = time.monotonic()
        async with self._compiling:
            try:
                bundle = await self._bundle(platform, runner)
            except ServiceError:
                bundle = await self._bundle(platform, runner)
        return self._judge(platform, bundle, time.monotonic() - started, runner.project)

    async def _bundle(self, platform: BundlePlatform, runner: CommandRunner) -> Bundle:
        metro = await self._up_to_date(runner)
        try:
            if platform not in self._urls:
                self._urls[platform] = (await metro.client.manifest(platform)).bundle_url
            return await metro.client.bundle(self._urls[platform], time_limit=_COMPILE_SECONDS)
        except ServiceError:
            await self._drop(metro)
            raise

    async def _up_to_date(self, runner: CommandRunner) -> MetroProcess:
        """A Metro that knows every write before this call: the running one if possible, otherwise a new one."""
        difference = self._folders.look()
        if self._metro is not None:
            is_trusted = self._metro.is_alive and not difference.is_replaced
            if is_trusted and await self._catch_up(self._metro, difference.files()):
                return self._metro
            await self._drop(self._metro)
        MetroView(self._root, 0).write_marker()
        self._metro = metro = await MetroProcess.start(runner)
        if not (await self._catch_up(metro, ()) and await self._catch_up(metro, self._touched())):
            await self._drop(metro)
            raise ServiceError(
                "Metro does not notice changed files.",
                "On Linux raise fs.inotify.max_user_watches, then retry the job.",
            )
        return metro

    def _touched(self) -> list[Path]:
        """Touch all files of the project, and return them.

        Metro lists the files first and watches them a moment later, so it misses writes in between.
        """
        files = self._folders.look().all_files()
        for file in files:
            os.utime(file, follow_symlinks=False)
        return files

    async def _catch_up(self, metro: MetroProcess, added: Iterable[Path]) -> bool:
        view = MetroView(self._root, metro.port)
        paths = [file.relative_to(self._root).as_posix() for file in added]
        return view.marker.is_file() and await asyncio.to_thread(
            view.catch_up, paths, seconds=_NOTICE_SECONDS
        )

    async def _drop(self, metro: MetroProcess) -> None:
        if self._metro is metro:
            self._metro = None
            self._urls.clear()
        await metro.stop()

    async def _warm(self) -> None:
        # An error here occurs again in `compile`, and is reported there.
        with contextlib.suppress(ServiceError):
            for platform in ("ios", "android"):
                await self.compile(platform)

    def _judge(
        self, platform: BundlePlatform, bundle: Bundle, seconds: float, project: PurePath
    ) -> Check:
        size = len(bundle.body)
        if not bundle.is_green:
            return Check(platform, False, seconds, parse_problems(bundle.body, project))
        if size < SMALLEST_BUNDLE:
            small = Problem(f"The bundle has only {size} bytes: App.tsx or index.ts is incomplete.")
            return Check(platform, False, seconds, (small,), size)
        return Check(platform, True, seconds, (), size)
