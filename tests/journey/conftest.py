"""A home for each module: its SDK is prepared, and nothing else exists yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import psutil
import pytest

from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.expo import make_expo_home as make_expo_home


@pytest.fixture(scope="module")
def home(make_expo_home: Callable[[int], Home]) -> Iterator[Home]:
    """The module's home. Ends what a failed test left running in it."""
    home = make_expo_home(54)
    yield home
    asyncio.run(_end(home))


async def _end(home: Home) -> None:
    supervisor = await Supervisor.attach(home)
    if supervisor is not None:
        async with supervisor:
            await supervisor.shutdown()


def processes_of(home: Home) -> list[str]:
    """The command lines of all processes that run in this home or name it."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        try:
            words = [*(process.info["cmdline"] or ()), process.cwd()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            continue
        is_of_home = any(str(home.root) in word for word in words)
        if is_of_home and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{process.pid} {' '.join(words)[:200]}")
    return found
