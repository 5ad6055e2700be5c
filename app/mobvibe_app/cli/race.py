"""Waits for something, unless a signal or the loss of the environment comes first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from mobvibe_app.studio.studio import Studio
from mobvibe_worker.errors import MobvibeError

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Race:
    """Notes ctrl+c and SIGTERM within `async with`, and closes the studio at its end."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._interrupted = asyncio.Event()
        self._stop = asyncio.create_task(self._interrupted.wait())
        self._lost: asyncio.Task[MobvibeError] | None = None

    @property
    def is_interrupted(self) -> bool:
        return self._interrupted.is_set()

    async def first(self, wanted: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T | None:
        """Wait for the value. Returns None after a signal, which cancels a coroutine but not a task.

        Raises MobvibeError if the environment is lost.
        """
        task = wanted if isinstance(wanted, asyncio.Task) else asyncio.create_task(wanted)
        if self._lost is None and self._studio.is_open:
            self._lost = asyncio.create_task(self._studio.lost())
        others: set[asyncio.Task[Any]] = {self._stop} | ({self._lost} if self._lost else set())
        await asyncio.wait({task} | others, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if task is not wanted or not self._stop.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._lost is not None and self._lost.done():
            raise self._lost.result()
        return None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._interrupted.set)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [task for task in (self._stop, self._lost) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._studio.close()
