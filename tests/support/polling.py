"""Waits for conditions up to a time limit, and starts programs that a test may kill.

MOBVIBE_TEST_PATIENCE (default 1) scales every time limit of a test. Set it to 4 on a busy machine, for example.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable

import psutil

PATIENCE = float(os.environ.get("MOBVIBE_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """A time limit in seconds, scaled by MOBVIBE_TEST_PATIENCE."""
    return seconds * PATIENCE


def within(seconds: float) -> asyncio.Timeout:
    """`asyncio.timeout` with the scaled limit."""
    return asyncio.timeout(patient(seconds))


class Programs:
    """The programs that one test starts. `kill_all` ends those that are still running."""

    def __init__(self) -> None:
        self._started: list[asyncio.subprocess.Process] = []

    async def start(
        self, *argv: str, stdout: int | None = None, stderr: int | None = None
    ) -> asyncio.subprocess.Process:
        """Start a program in the session of this process."""
        process = await asyncio.create_subprocess_exec(*argv, stdout=stdout, stderr=stderr)
        self._started.append(process)
        return process

    async def kill_all(self) -> None:
        """Send SIGKILL to every program that is still running."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
                await process.wait()


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def until(
    condition: Callable[[], object], seconds: float = 10.0, what: str | Callable[[], object] = ""
) -> None:
    """Return as soon as the condition holds. Raises AssertionError with `what` after `seconds` (scaled)."""
    deadline = time.monotonic() + patient(seconds)
    while not condition():
        if time.monotonic() > deadline:
            wanted = what() if callable(what) else what
            raise AssertionError(f"not within {patient(seconds):g} s: {wanted or condition}")
        await asyncio.sleep(0.01)


async def until_gone(pids: Iterable[int], seconds: float = 10.0) -> None:
    """Return as soon as none of these processes is running."""
    waited_for = set(pids)
    await until(lambda: not any(map(is_running, waited_for)), seconds, f"{waited_for} are gone")
