"""Real Expo SDKs for tests, installed once per machine into the tests' cache and linked into temporary homes."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mobvibe_worker.home import Home, SdkFolder
from mobvibe_worker.toolchain.node import Node, find_node
from mobvibe_worker.toolchain.sdks import Sdk, sdk
from mobvibe_worker.toolchain.starter import Starter
from mobvibe_worker.workspace.tree import write_tree
from support.cache import cache_folder, locked

_LINKED = ("node_modules", "cache")
_COPIED = ("starter", "home", "package.json", ".prepared.json", ".warmed.json")


def cache_home() -> Home:
    """The home in the tests' cache that holds the prepared SDKs."""
    return Home(cache_folder() / "home")


def make_home(root: Path, version: int, *, warm: bool = True) -> Home:
    """Make a home with a prepared SDK; `warm` also fills its Metro cache. The first call takes a minute or two."""
    home = Home(root)
    home.prepare()
    with locked("home") as folder:
        cache = Home(folder)
        cache.prepare()
        wanted = sdk(version)
        starter = Starter(cache, wanted, find_node(wanted.minimum_node))
        asyncio.run(_make_ready(starter, warm=warm))
        _link_sdk(cache.sdk(version), home.sdk(version))
    return home


async def _make_ready(starter: Starter, *, warm: bool) -> None:
    await starter.prepare()
    if warm:
        await starter.warm()


def _link_sdk(source: SdkFolder, target: SdkFolder) -> None:
    """Link files that are never changed in place (a Metro cache only gains files) and copy the others."""
    target.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _LINKED:
        shutil.copytree(source.root / name, target.root / name, symlinks=True, copy_function=_link)
    for name in _COPIED:
        place = source.root / name
        if place.is_dir():
            shutil.copytree(place, target.root / name)
        elif place.exists():
            shutil.copy2(place, target.root / name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class ExpoSdk:
    """A prepared SDK in a temporary home."""

    def __init__(self, home: Home, version: int) -> None:
        self.home = home
        self.sdk: Sdk = sdk(version)
        self.node: Node = find_node(self.sdk.minimum_node)
        self.folder = home.sdk(version)
        self.starter = Starter(home, self.sdk, self.node)

    def stage(self, name: str, more: Mapping[str, str] | None = None) -> Path:
        """Make a staged folder with the starter's files and `more` files (path -> text)."""
        root = self.folder.staged(name)
        root.mkdir(parents=True)
        added = {path: text.encode() for path, text in (more or {}).items()}
        write_tree({**self.starter.files(name.title(), name), **added}, root)
        return root


@pytest.fixture(scope="session")
def expo_sdk(tmp_path_factory: pytest.TempPathFactory) -> ExpoSdk:
    """SDK 54, prepared and with a warm Metro cache, in a home of this test run."""
    return ExpoSdk(make_home(tmp_path_factory.mktemp("expo") / "home", 54), 54)


@pytest.fixture(scope="session")
def make_expo_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Home]:
    """Makes a new home with a prepared SDK on every call."""
    return lambda version: make_home(tmp_path_factory.mktemp("expo") / "home", version)
