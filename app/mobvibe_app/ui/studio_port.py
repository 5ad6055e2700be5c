"""What the dashboard needs from below: changes come up, commands go down. `studio.feed.Feed` is the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from mobvibe_app.studio.changes import Change
from mobvibe_app.studio.commands import Command


class StudioPort(Protocol):
    """A running mobvibe-tui as its screens see it."""

    def changes(self) -> AsyncIterator[Change]:
        """Start everything and yield what changes, until closed. The first statuses come before anything slow."""
        ...

    async def do(self, command: Command) -> None:
        """Carry out a command; what comes of it arrives as changes. Raises MobvibeError if it is refused."""
        ...

    async def close(self) -> None:
        """Stop the worker, hand back its jobs and give up the lease on the environment."""
        ...
