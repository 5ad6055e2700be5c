"""What can change for a client, as values that flow up from the environment and the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import PreviewKnown
from mobvibe_app.status import ServiceStatus
from mobvibe_worker.events import Event
from mobvibe_worker.jobs import QueueStats, SessionId, SessionSummary, WorkerSummary


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """A service has a new status."""

    status: ServiceStatus


@dataclass(frozen=True, slots=True)
class OverviewChanged:
    """The queue, the sessions (newest first) or today's spend changed."""

    stats: QueueStats
    sessions: tuple[SessionSummary, ...]
    cost_today_usd: Decimal
    finished_per_minute: tuple[int, ...] = ()
    """Jobs that ended in each of the last 60 minutes, oldest first; empty if they were not counted."""
    workers: tuple[WorkerSummary, ...] = ()
    """The workers of this database, the busy ones first, the lost ones last; empty if they may not be seen."""


@dataclass(frozen=True, slots=True)
class SessionSelected:
    """The screen shows this session from now on; its events follow from seq 1."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class EventsArrived:
    """New events of the selected session, in order of seq."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class PreviewChanged:
    """The selected session's preview is served at a new address, or no longer served (None)."""

    session_id: SessionId
    preview: PreviewAddress | None


@dataclass(frozen=True, slots=True)
class PreviewWatched:
    """New facts about the selected session's preview."""

    session_id: SessionId
    known: PreviewKnown


@dataclass(frozen=True, slots=True)
class TroubleChanged:
    """What went wrong and what to do, in one line each; None if it is over."""

    message: str | None
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something worth a short note for the person, in one line."""

    message: str


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """Everything is read through this person's row-level security from now on, or again as the home's owner (None)."""

    email: str | None


Change = (
    ServiceChanged
    | OverviewChanged
    | SessionSelected
    | EventsArrived
    | PreviewChanged
    | PreviewWatched
    | TroubleChanged
    | Noticed
    | ViewChanged
)

OnChange = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """A recording that can be replayed without a key."""

    name: str
    title: str
    prompt: str
    changes: str | None
    """The demo whose app this one changes; None if it starts a new app."""
