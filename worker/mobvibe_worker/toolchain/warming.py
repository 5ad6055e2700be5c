"""Fills an SDK's transform cache, so that a project's first bundle takes seconds instead of a minute."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import SdkFolder
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.toolchain.local_commands import LocalCommands
from mobvibe_worker.toolchain.metro import MetroClient
from mobvibe_worker.toolchain.metro_process import MetroProcess
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.workspace.tree import write_tree

_NICENESS = 10
_PREFIX = "warm-"
_BUNDLE_SECONDS = 600.0


async def warm_cache(folder: SdkFolder, node: Node, files: FileTree) -> None:
    """Compile these files for every platform in a temporary folder, by the URLs of Metro's manifests.

    Must not run twice at once, as it removes the folders of earlier runs. If cancelled, the cache is partly filled.
    Raises ServiceError if Metro fails.
    """
    staged = folder.staged("any").parent
    staged.mkdir(parents=True, exist_ok=True)
    for leftover in staged.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    project = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=staged))
    try:
        await asyncio.to_thread(write_tree, files, project)
        commands = LocalCommands(project, folder, node, niceness=_NICENESS)
        async with await MetroProcess.start(commands) as metro:
            async for url in _bundle_urls(metro.client):
                bundle = await metro.client.bundle(url, time_limit=_BUNDLE_SECONDS)
                if not bundle.is_green:
                    raise ServiceError("The starter does not compile.", "Run `mobvibe-tui doctor`.")
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, project, ignore_errors=True))


async def _bundle_urls(client: MetroClient) -> AsyncIterator[str]:
    yield (await client.manifest("ios")).bundle_url
    yield (await client.manifest("android")).bundle_url
    yield await client.web_bundle_url()
