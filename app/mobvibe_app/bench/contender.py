"""The operations that every measured queue offers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Watcher(Protocol):
    """Receives the tag of each job when it starts; a job's code does nothing else."""

    def on_start(self, tag: int) -> None:
        """The job's code has started."""
        ...

    def on_end(self, tag: int) -> None:
        """The job's code has ended, and everything that it stores itself is stored."""
        ...


class Contender(Protocol):
    """One queue in a database of its own."""

    @property
    def name(self) -> str: ...

    @property
    def fewest_slots(self) -> int:
        """The smallest number of jobs at once that it accepts."""
        ...

    async def enqueue(self, tag: int) -> None: ...

    def working(self, slots: int, watcher: Watcher) -> AbstractAsyncContextManager[None]:
        """Run a worker in this process with `slots` jobs at once, until the end of the block."""
        ...

    async def unfinished(self) -> int:
        """The number of jobs that are not stored as done."""
        ...

    async def clear(self) -> None:
        """Delete the jobs that were added since the start, and their rows in other tables."""
        ...
