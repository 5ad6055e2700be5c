"""Waiting for a condition with a deadline in place of sleeping for luck, and programs that a test may kill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import psutil


class Programs:
    """Programs that one test starts; `kill_all` ends what is left when it failed half-way."""

    def __init__(self) -> None:
        self._started: list[asyncio.subprocess.Process] = []

    async def start(
        self, *argv: str, stdout: int | None = None, stderr: int | None = None
    ) -> asyncio.subprocess.Process:
        """Start a program of our own session."""
        process = await asyncio.create_subprocess_exec(*argv, stdout=stdout, stderr=stderr)
        self._started.append(process)
        return process

    async def kill_all(self) -> None:
        """kill -9 of each that still runs."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
                await process.wait()


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie that its parent has yet to reap."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], bool], seconds: float = 10.0, what: str = "") -> None:
    """Return as soon as the condition holds; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.01)


async def until_gone(pids: Iterable[int], seconds: float = 10.0) -> None:
    """Return as soon as none of the processes runs."""
    waited_for = set(pids)
    await until(lambda: not any(map(is_running, waited_for)), seconds, f"{waited_for} are gone")
