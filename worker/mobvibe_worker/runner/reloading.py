"""Restarts a worker whenever its source changes, for people who work on the platform itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

from watchfiles import Change, awatch

from mobvibe_worker.errors import InputError
from mobvibe_worker.processes.guarded import GuardedProcess, StopPolicy

HAND_BACK_SECONDS = 20.0
DEBOUNCE_MILLISECONDS = 400
SUFFIXES = frozenset({".py", ".toml", ".md", ".cjs", ".sql"})
_STDERR = 2

Changes: TypeAlias = set[tuple[Change, str]]


def own_source() -> tuple[Path, ...]:
    return (Path(__file__).parents[1],)


class ReloadingWorker:
    """Runs `command`, a worker, in a separate process. SIGHUP makes it hand its jobs back and end."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        folders: Sequence[Path],
        on_line: Callable[[str], None],
    ) -> None:
        self._command = command
        self._env = env
        self._folders = folders
        self._on_line = on_line
        self._stopping = asyncio.Event()
        self._child: GuardedProcess | None = None

    async def run(self) -> int:
        """Run until SIGTERM, SIGHUP or ctrl+c, which the worker receives too; returns its exit code.

        Raises InputError for a missing folder.
        """
        for folder in self._folders:
            if not folder.is_dir():
                raise InputError(f"{folder} is not a folder.", "--reload watches a folder.")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._forward, number)
        watched = awatch(
            *self._folders,
            watch_filter=_is_source,
            stop_event=self._stopping,
            debounce=DEBOUNCE_MILLISECONDS,
        )
        async with aclosing(watched) as changes:
            next_change = asyncio.create_task(_next(changes))
            while True:
                code = await self._run_child(next_change)
                if code is not None:
                    self._on_line(f"the worker ended ({code}); it restarts after the next change")
                    await asyncio.wait((next_change,))
                changed = await next_change
                if changed is None:
                    return await self._last_code(code)
                self._on_line(f"{_names(changed)} changed: restarting the worker")
                await self._stop_child()
                next_change = asyncio.create_task(_next(changes))

    async def _run_child(self, next_change: asyncio.Task[Changes | None]) -> int | None:
        """Start the worker. Returns its exit code if it ended by itself, None if it must be restarted or stopped."""
        self._child = await GuardedProcess.start(
            self._command,
            cwd=Path.cwd(),
            env=self._env,
            stdout=os.dup(_STDERR),
            stop=StopPolicy(signal="HUP", scope="process", grace=HAND_BACK_SECONDS),
        )
        if self._stopping.is_set():
            self._child.ask_to_stop()
        ended = asyncio.create_task(self._child.wait())
        await asyncio.wait((ended, next_change), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.cancel()
            return None
        return None if next_change.done() else ended.result()

    async def _stop_child(self) -> None:
        if self._child is not None:
            await self._child.stop()

    async def _last_code(self, code: int | None) -> int:
        """Wait until the worker, which was asked to end too, has ended."""
        if code is None and self._child is not None:
            code = await self._child.wait()
        return code or 0

    def _forward(self, number: int) -> None:
        self._stopping.set()
        if self._child is not None and self._child.exit_code is None:
            os.kill(self._child.pid, number)


def _is_source(change: Change, path: str) -> bool:
    return Path(path).suffix in SUFFIXES and "__pycache__" not in path


async def _next(changes: AsyncIterator[Changes]) -> Changes | None:
    return await anext(changes, None)


def _names(changed: Changes) -> str:
    names = sorted({Path(path).name for _, path in changed})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
