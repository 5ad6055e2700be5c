"""What every queue that is measured can do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

OnStart = Callable[[int], None]
"""Called by a job's code with its tag, when it starts; it does nothing else."""


class Contender(Protocol):
    """One queue in a database of its own."""

    @property
    def name(self) -> str:
        """What it is called in the tables."""
        ...

    @property
    def fewest_slots(self) -> int:
        """The smallest number of jobs at once that it can be told."""
        ...

    async def enqueue(self, tag: int) -> None:
        """One job, as a program enqueues one."""
        ...

    async def enqueue_batch(self, count: int, lines: int | None = None) -> None:
        """`count` jobs in one call. `lines` of them may run at once; None is all of them."""
        ...

    def working(self, slots: int, on_start: OnStart) -> AbstractAsyncContextManager[None]:
        """A worker in this process with `slots` jobs at once, until the end of the block."""
        ...

    async def unfinished(self) -> int:
        """How many jobs are not stored as done."""
        ...

    async def clear(self) -> None:
        """Away with all jobs that were not there from the beginning, and with what they left in the tables."""
        ...
