"""What a person can do in a studio, one frozen value per command, from the dashboard or the command line."""

from __future__ import annotations

from dataclasses import dataclass

from mobvibe_app.status import ServiceName
from mobvibe_worker.jobs import Platform, SessionId


@dataclass(frozen=True, slots=True)
class SubmitPrompt:
    """Build what the text describes: in the project of a session or of a slug, else as a new app."""

    text: str
    session_id: SessionId | None = None
    project: str | None = None
    """The slug of an existing project."""
    platform: Platform | None = None
    """None: the platform on which the project was shown last; a new app is for phones."""


@dataclass(frozen=True, slots=True)
class ReplayDemo:
    """Replay a recorded build, without a key and without cost."""

    name: str
    project: str | None = None
    """The slug of an existing project; None: the app that the demo changes, or a new one."""
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class SelectSession:
    """Show another session."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Cancel the selected session's waiting or running job."""


@dataclass(frozen=True, slots=True)
class WakePreview:
    """Start the selected session's preview again if it was stopped."""


@dataclass(frozen=True, slots=True)
class RestartService:
    """Stop a service and start it again; `preview` is the selected session's."""

    service: ServiceName


@dataclass(frozen=True, slots=True)
class RebuildService:
    """Rebuild what a service runs from (images, packages, caches). No data is lost."""

    service: ServiceName


@dataclass(frozen=True, slots=True)
class SeeAs:
    """Read through the row-level security of the person with this email, or again as oneself (None)."""

    email: str | None


Command = (
    SubmitPrompt
    | ReplayDemo
    | SelectSession
    | CancelJob
    | WakePreview
    | RestartService
    | RebuildService
    | SeeAs
)
