"""Locks between processes. Waiting for one blocks no thread, so it can be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.02


@contextlib.asynccontextmanager
async def held(
    path: Path,
    on_wait: Callable[[], None] | None = None,
    *,
    poll_seconds: float = _POLL_SECONDS,
) -> AsyncIterator[None]:
    """Hold the lock file at `path`, also against other tasks of this process.

    `on_wait` is called once if the lock is held elsewhere. The kernel frees it when its holder dies.
    """
    lock = FileLock(path, thread_local=False)
    is_waiting = False
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if on_wait is not None and not is_waiting:
                on_wait()
            is_waiting = True
            await asyncio.sleep(poll_seconds)
    try:
        yield
    finally:
        lock.release()
