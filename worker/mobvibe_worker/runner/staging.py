"""A staged folder and the tools that check it, for one attempt at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from mobvibe_worker.events import Payload, Terminal
from mobvibe_worker.home import Home
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.store.projects import Project
from mobvibe_worker.toolchain.check_bundler import CheckBundler
from mobvibe_worker.toolchain.checks import ProjectChecker
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.sandbox import Sandbox, StagedCommands
from mobvibe_worker.toolchain.sdks import Sdk, sdk
from mobvibe_worker.toolchain.starter import Starter
from mobvibe_worker.workspace.staged import StagedFolder
from mobvibe_worker.workspace.tree import write_tree

Emit = Callable[[Payload], None]
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class CheckingStaged:
    """One attempt's folder and its checker."""

    staged: StagedFolder
    checker: ProjectChecker


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The starter of one SDK, ready to use, and the sandbox if there is one."""

    home: Home
    sdk: Sdk
    starter: Starter
    sandbox: Sandbox | None

    def starter_files(self, project: Project) -> FileTree:
        return self.starter.files(project.name, project.slug)

    @asynccontextmanager
    async def staging(
        self, name: str, files: FileTree, emit: Emit
    ) -> AsyncIterator[CheckingStaged]:
        """Open a staged folder with these files and its check bundler. Both are gone afterwards."""
        folder = self.home.sdk(self.sdk.version)
        root = folder.staged(name)
        await asyncio.to_thread(_sweep, root.parent)
        lock = FileLock(root.with_name(f"{name}{_LOCK}"), thread_local=False)
        lock.acquire(timeout=0)
        try:
            await asyncio.to_thread(root.mkdir, parents=True)
            await asyncio.to_thread(write_tree, files, root)
            async with (
                StagedCommands(root, self.starter, self.sandbox) as commands,
                CheckBundler(root, commands) as bundler,
            ):
                checker = ProjectChecker(root, folder, self.sdk, commands, bundler, emit)
                yield CheckingStaged(StagedFolder(root), checker)
        finally:
            await asyncio.shield(asyncio.to_thread(_drop, root, lock))


@dataclass(frozen=True, slots=True)
class Toolchains:
    """The SDKs of one home, each prepared on first use."""

    home: Home
    sandbox: Sandbox | None = None
    _ready: dict[int, Toolchain] = field(default_factory=dict)

    async def ready(self, version: int, emit: Emit) -> Toolchain:
        """The toolchain of an SDK. Installs its starter the first time in a home.

        Raises InputError for an unknown SDK, ServiceError if Node or npm fails.
        """
        if version not in self._ready:
            wanted = sdk(version)
            node = await asyncio.to_thread(find_node, wanted.minimum_node)
            starter = Starter(self.home, wanted, node)
            if not starter.is_prepared:
                emit(Terminal(f"prepare Expo SDK {version} (once)"))
                await starter.prepare(lambda progress: None)
                emit(Terminal(f"prepare Expo SDK {version} (once)", "passed"))
            self._ready[version] = Toolchain(self.home, wanted, starter, self.sandbox)
        return self._ready[version]


def _drop(root: Path, lock: FileLock) -> None:
    shutil.rmtree(root, ignore_errors=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _sweep(staged: Path) -> None:
    """Remove the folders of attempts whose worker was killed, which leaves their locks free."""
    staged.mkdir(parents=True, exist_ok=True)
    for held in staged.glob(f"*{_LOCK}"):
        lock = FileLock(held, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _drop(held.with_name(held.name.removesuffix(_LOCK)), lock)
