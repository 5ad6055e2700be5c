"""What the dashboard needs from below. `mobvibe_app.studio.feed.ScreenFeed` is the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from mobvibe_app.status import ServiceCareVerb, ServiceName
from mobvibe_app.studio.changes import Change, DemoSummary
from mobvibe_worker.jobs import Platform, SessionId


class StudioPort(Protocol):
    """A mobvibe-tui as its screens see it: what changes, and what the person can do."""

    def changes(self) -> AsyncIterator[Change]:
        """Start everything and yield what changes, until closed. The first statuses come before anything slow."""
        ...

    def demos(self) -> Sequence[DemoSummary]:
        """The recordings that can be replayed."""
        ...

    async def submit(
        self, prompt: str, *, new_project: bool = False, platform: Platform = "mobile"
    ) -> SessionId:
        """Enqueue a prompt for the selected session's project, or for a new one of a platform. Raises MobvibeError."""
        ...

    async def wake_preview(self) -> None:
        """Start the selected session's preview again where it was stopped."""
        ...

    async def run_demo(self, name: str) -> SessionId:
        """Enqueue a recorded prompt. Raises MobvibeError."""
        ...

    async def select(self, session_id: SessionId) -> None:
        """Show another session."""
        ...

    async def cancel(self) -> bool:
        """Cancel the selected session's waiting or running job; False where there is none."""
        ...

    async def care(self, verb: ServiceCareVerb, service: ServiceName) -> None:
        """Restart a service, or make anew what it runs from; the preview is the selected session's.

        Raises MobvibeError.
        """
        ...

    async def view_as(self, email: str | None) -> None:
        """Read through that person's row-level security; None: one's own view again. Raises MobvibeError."""
        ...

    async def close(self) -> None:
        """Stop the worker, hand back its jobs and give up the lease on the environment."""
        ...
