"""Prepares one Expo SDK in a home: installs its packages once, with the starter's files beside them."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home, SdkFolder
from mobvibe_worker.processes.locks import held
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.toolchain.npm import run_npm
from mobvibe_worker.toolchain.sdks import Sdk
from mobvibe_worker.toolchain.template import (
    NEEDED_FILES,
    extract_template,
    project_tree,
    starter_tree,
)
from mobvibe_worker.toolchain.warming import warm_cache
from mobvibe_worker.workspace.tree import read_tree, write_tree

FREE_BYTES_NEEDED = 1_000_000_000
_PACK_SECONDS = 120.0
_INSTALL_SECONDS = 900.0
_MARKER = ".prepared.json"
_WARM_MARKER = ".warmed.json"
_INSTALL_PREFIX = ".install-"


@dataclass(frozen=True, slots=True)
class StarterProgress:
    """How far an install is. `fraction` is 0..1, or None if unknown."""

    phase: Literal["waiting", "template", "packages", "placing", "ready"]
    detail: str = ""
    fraction: float | None = None


OnProgress = Callable[[StarterProgress], None]


class Starter:
    """The starter of one SDK in one home."""

    def __init__(self, home: Home, sdk: Sdk, node: Node) -> None:
        self.sdk = sdk
        self.folder: SdkFolder = home.sdk(sdk.version)
        self.node = node

    @property
    def is_prepared(self) -> bool:
        """Whether exactly these packages are installed."""
        return self._has_marker(_MARKER) and self.folder.modules.is_dir()

    @property
    def is_warm(self) -> bool:
        return self._has_marker(_WARM_MARKER)

    async def prepare(self, on_progress: OnProgress = lambda progress: None) -> None:
        """Install the packages once per home, even if several processes ask. An interrupted install leaves no trace.

        Raises ServiceError if npm, the network or the disk fails.
        """
        if not self.is_prepared:
            await asyncio.to_thread(self._make_folders)
            waiting = StarterProgress("waiting", "another mobvibe-tui is installing")
            async with held(self._lock_path("install"), lambda: on_progress(waiting)):
                if not self.is_prepared:
                    await self._install(on_progress)
        on_progress(StarterProgress("ready", fraction=1.0))

    def files(self, name: str, slug: str) -> FileTree:
        """The first files of a new project. Call `prepare` first; `slug` must differ per project.

        Raises ServiceError if files of the starter are missing.
        """
        starter = read_tree(self.folder.starter, hard_links=True)
        missing = NEEDED_FILES - starter.keys()
        if missing:
            raise ServiceError(
                f"The starter in {self.folder.starter} lacks {', '.join(sorted(missing))}.",
                f"Delete {self.folder.root} and start mobvibe-tui again, which reinstalls the starter.",
            )
        return project_tree(starter, name, slug)

    async def warm(self) -> None:
        """Fill the transform cache for iOS, Android and the web once per home, at low priority. Can be cancelled.

        Raises ServiceError if Metro fails.
        """
        if self.is_warm:
            return
        async with held(self._lock_path("warm")):
            if not self.is_warm:
                files = self.files("Warm-up", "warm-up")
                await warm_cache(self.folder, self.node, files)
                self._mark(_WARM_MARKER)

    def forget(self) -> None:
        """Mark the packages as not installed and the cache as empty, so that `prepare` and `warm` run again."""
        for marker in (_MARKER, _WARM_MARKER):
            (self.folder.root / marker).unlink(missing_ok=True)

    def forget_warmth(self) -> None:
        """Mark the cache as empty, so that `warm` fills it again."""
        (self.folder.root / _WARM_MARKER).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the packages and the transform cache; projects and their served folders stay."""
        self.forget()
        for place in (self.folder.modules, self.folder.starter, self.folder.cache):
            shutil.rmtree(place, ignore_errors=True)

    async def _install(self, on_progress: OnProgress) -> None:
        root = self.folder.root
        await asyncio.to_thread(self._clear_leftovers)
        self._require_space()
        scratch = Path(tempfile.mkdtemp(prefix=_INSTALL_PREFIX, dir=root))
        try:
            on_progress(StarterProgress("template", self.sdk.template))
            starter = await self._fetch_template(scratch)
            (scratch / "package.json").write_bytes(starter["package.json"])
            (scratch / "package-lock.json").write_bytes(self.sdk.lock)
            await run_npm(
                self.node,
                ("ci",),
                cwd=scratch,
                time_limit=_INSTALL_SECONDS,
                on_answer=partial(_report, on_progress, self.sdk.count_packages()),
            )
            on_progress(StarterProgress("placing", fraction=1.0))
            await asyncio.to_thread(self._place, scratch, starter)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True))

    async def _fetch_template(self, scratch: Path) -> FileTree:
        await run_npm(self.node, ("pack", self.sdk.template), cwd=scratch, time_limit=_PACK_SECONDS)
        tarballs = list(scratch.glob("*.tgz"))
        if len(tarballs) != 1:
            raise ServiceError(
                "npm did not deliver the starter.", "Check npm's settings, then try again."
            )
        return starter_tree(extract_template(tarballs[0]), self.sdk)

    def _place(self, scratch: Path, starter: FileTree) -> None:
        """Move the finished install into place, and write its marker last."""
        for marker in (_MARKER, _WARM_MARKER):
            (self.folder.root / marker).unlink(missing_ok=True)
        (scratch / "starter").mkdir()
        write_tree(starter, scratch / "starter")
        for name in ("node_modules", "starter", "package.json"):
            place = self.folder.root / name
            if place.exists():
                place.rename(scratch / f"old-{name}")
            (scratch / name).rename(place)
        self._mark(_MARKER)

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder.root, self.folder.cache, self.folder.node_home):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(
                f"The folder {self.folder.root} cannot be created: {error.strerror or error}.",
                "Choose another home with --home DIR.",
            ) from error

    def _clear_leftovers(self) -> None:
        for leftover in self.folder.root.glob(f"{_INSTALL_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.folder.root).free
        if free < FREE_BYTES_NEEDED:
            raise ServiceError(
                f"Only {free / 1e9:.1f} GB are free at {self.folder.root}; the Expo packages need 1 GB.",
                "Free some space, or choose another home with --home DIR.",
            )

    def _lock_path(self, name: str) -> Path:
        return self.folder.root / f".{name}.lock"

    def _has_marker(self, marker: str) -> bool:
        try:
            held = json.loads((self.folder.root / marker).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(held, dict) and held.get("pins") == self.sdk.pins

    def _mark(self, marker: str) -> None:
        beside = self.folder.root / f"{marker}.new"
        beside.write_text(json.dumps({"pins": self.sdk.pins}), encoding="utf-8")
        beside.replace(self.folder.root / marker)


def _report(on_progress: OnProgress, packages: int, looked_up: int, fetched: int) -> None:
    # npm first looks up most packages, then fetches them all, and finally unpacks the last of them.
    done = 0.45 * min(looked_up / packages, 1.0) + 0.5 * min(fetched / packages, 1.0)
    if not fetched:
        detail = f"looking up packages ({looked_up})"
    elif fetched < packages:
        detail = f"{fetched} of {packages} packages"
    else:
        detail = f"unpacking {fetched} packages"
    on_progress(StarterProgress("packages", detail, done))
