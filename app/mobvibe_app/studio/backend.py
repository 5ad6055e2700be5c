"""What a studio has once Postgres answers: the stores, the views, the previews and the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_app.preview.reconcile import Reconciler
    from mobvibe_app.studio.conversations import Conversations
    from mobvibe_app.studio.overview import Overview
    from mobvibe_worker.events import Event
    from mobvibe_worker.jobs import SessionId
    from mobvibe_worker.store.stores import Stores


class WorkerPort(Protocol):
    """What the studio needs of its worker."""

    async def run(self) -> None:
        """Work until stopped."""
        ...

    def stop(self) -> None:
        """Hand back what runs and end."""
        ...


class NoWorker:
    """Stands in for the worker if jobs run elsewhere."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()


@dataclass(frozen=True, slots=True)
class View:
    """What one person sees. Another person's view reads through their row-level security and never writes."""

    email: str | None
    """None is the home's owner."""
    conversations: Conversations
    overview: Overview
    follow: Callable[[SessionId, int], AsyncIterator[list[Event]]]
    """A session's events after this seq, each once and in order, until cancelled."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The objects that use the database."""

    stores: Stores
    own: View
    """The view of the home's owner."""
    mirror: HeadMirror
    reconciler: Reconciler
    worker: WorkerPort
    see_as: Callable[[str], Awaitable[View]]
    """The view of the person with this email. Raises NotFound."""
