"""What the panels show, as one frozen value, and the pure function that applies a change to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Literal, get_args

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import PreviewKnown
from mobvibe_app.status import ServiceName, ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    Noticed,
    OverviewChanged,
    PreviewChanged,
    PreviewWatched,
    ServiceChanged,
    SessionSelected,
    TroubleChanged,
    ViewChanged,
)
from mobvibe_worker.events import (
    Completion,
    ErrorRaised,
    Event,
    FileChange,
    Message,
    Payload,
    PreviewReady,
    Terminal,
    Thinking,
)
from mobvibe_worker.jobs import JobId, QueueStats, SessionId, SessionSummary, WorkerSummary

Phase = Literal["running", "done", "failed", "cancelled"]
FileVerb = Literal["created", "modified", "deleted", "renamed"]
ACTIVITY_LIMIT = 200
_SERVICE_ORDER: tuple[ServiceName, ...] = get_args(ServiceName)


@dataclass(frozen=True, slots=True)
class FileLine:
    """One file that the newest prompt changed: what happened to it, and lines added and removed in all."""

    path: str
    change: FileVerb
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the selected session's newest job has come; times and money are the stored ones."""

    job_id: JobId | None
    prompt: str
    phase: Phase
    activity: str
    started_at: datetime
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong, and what to do next."""

    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class BuildState:
    """Everything that the panels need. The stream's rows are the view's own; here only `last_seq` counts them."""

    services: tuple[ServiceStatus, ...] = ()
    stats: QueueStats = field(default_factory=QueueStats)
    sessions: tuple[SessionSummary, ...] = ()
    cost_today_usd: Decimal = Decimal(0)
    finished_per_minute: tuple[int, ...] = ()
    workers: tuple[WorkerSummary, ...] = ()
    is_overview_known: bool = False
    selected: SessionId | None = None
    last_seq: int = 0
    progress: Progress | None = None
    files: Mapping[str, FileLine] = field(default_factory=lambda: MappingProxyType({}))
    preview: PreviewAddress | None = None
    preview_known: PreviewKnown | None = None
    """What is known of the running preview: phones, builds, the app's console, why a phone does not show it."""
    preview_seq: int = 0
    """The seq of the newest preview_ready: it grows when another revision is served."""
    trouble: Trouble | None = None
    viewed_as: str | None = None
    """Whose row-level security everything is read through; None is the local owner's own view."""

    @property
    def selected_session(self) -> SessionSummary | None:
        """The session that the screen shows, once the overview names it."""
        return next((each for each in self.sessions if each.id == self.selected), None)

    @property
    def is_job_unfinished(self) -> bool:
        """Whether the selected session has a job that waits or runs."""
        session = self.selected_session
        if session is not None and session.job_status is not None:
            return session.job_status in ("pending", "processing")
        return self.progress is not None and self.progress.phase == "running"

    @property
    def is_anything_running(self) -> bool:
        """Whether a worker runs a job. Waiting jobs do not count, because they are safe in the queue."""
        statuses = [each.job_status for each in self.sessions]
        return self.stats.processing > 0 or "processing" in statuses


def apply(state: BuildState, change: Change) -> BuildState:
    """The state after one change. The cost depends on the change's size, never on the length of the history."""
    match change:
        case ServiceChanged(status=status):
            return replace(state, services=_with_service(state.services, status))
        case OverviewChanged(stats=stats, sessions=sessions, cost_today_usd=cost):
            return replace(
                state,
                stats=stats,
                sessions=sessions,
                cost_today_usd=cost,
                finished_per_minute=change.finished_per_minute,
                workers=change.workers,
                is_overview_known=True,
            )
        case SessionSelected(session_id=session_id):
            return replace(
                state,
                selected=session_id,
                last_seq=0,
                progress=None,
                files=MappingProxyType({}),
                preview=None,
                preview_known=None,
                preview_seq=0,
            )
        case EventsArrived(events=events):
            return _with_events(state, events)
        case PreviewChanged(session_id=session_id, preview=preview):
            return replace(state, preview=preview) if session_id == state.selected else state
        case PreviewWatched(session_id=session_id, known=known):
            return replace(state, preview_known=known) if session_id == state.selected else state
        case ViewChanged(email=email):
            return BuildState(services=state.services, viewed_as=email)
        case TroubleChanged(message=message, remedy=remedy):
            trouble = None if message is None else Trouble(message, remedy)
            return replace(state, trouble=trouble)
        case Noticed():
            return state


def _with_service(
    services: tuple[ServiceStatus, ...], status: ServiceStatus
) -> tuple[ServiceStatus, ...]:
    by_name = {each.name: each for each in services} | {status.name: status}
    return tuple(by_name[name] for name in _SERVICE_ORDER if name in by_name)


def _with_events(state: BuildState, events: tuple[Event, ...]) -> BuildState:
    files: dict[str, FileLine] = dict(state.files)
    progress, preview_seq, last_seq = state.progress, state.preview_seq, state.last_seq
    for event in events:
        if event.session_id != state.selected or event.seq <= last_seq:
            continue
        last_seq = event.seq
        payload = event.payload
        if isinstance(payload, FileChange):
            _record(files, payload)
        elif isinstance(payload, PreviewReady):
            preview_seq = event.seq
        elif _drops_files(payload):
            files.clear()
        progress = _progress_after(progress, event, payload)
    return replace(
        state,
        files=MappingProxyType(files),
        progress=progress,
        preview_seq=preview_seq,
        last_seq=last_seq,
    )


def _drops_files(payload: Payload | None) -> bool:
    """Whether the list of files starts again, as after a new prompt or a failed attempt, which changes nothing."""
    return isinstance(payload, ErrorRaised) or (
        isinstance(payload, Message) and payload.author == "person"
    )


def _record(files: dict[str, FileLine], change: FileChange) -> None:
    earlier = files.pop(change.origin or change.path, None)
    was_created = earlier is not None and earlier.change == "created"
    if change.change == "deleted" and was_created:
        return
    verb: FileVerb = "created" if was_created else change.change
    added = change.added + (earlier.added if earlier else 0)
    removed = change.removed + (earlier.removed if earlier else 0)
    files[change.path] = FileLine(change.path, verb, added, removed)


def _progress_after(
    progress: Progress | None, event: Event, payload: Payload | None
) -> Progress | None:
    if isinstance(payload, Message) and payload.author == "person":
        return Progress(event.job_id, payload.text, "running", "waiting", event.created_at)
    if progress is None:
        if event.job_id is None or payload is None:
            return None
        progress = Progress(event.job_id, "", "running", "", event.created_at)
    match payload:
        case Completion():
            cost = _decimal(payload.cost_usd)
            return replace(progress, phase="done", activity="done", cost_usd=cost)
        case ErrorRaised(will_retry=False, is_cancelled=True):
            return replace(progress, phase="cancelled", activity="cancelled")
        case ErrorRaised(will_retry=False):
            return replace(progress, phase="failed", activity=_line(payload.message))
        case _ if progress.phase == "running":
            return replace(progress, activity=_activity(payload) or progress.activity)
    return progress


def _activity(payload: Payload | None) -> str:
    match payload:
        case Thinking():
            return "thinking"
        case Terminal(outcome=None):
            return _line(payload.command)
        case Terminal(outcome="failed"):
            return _line(f"fixing: {payload.command}")
        case FileChange():
            return _line(f"writing {payload.path.rsplit('/', 1)[-1]}")
        case ErrorRaised():
            return "trying again"
    return ""


def _line(text: str) -> str:
    return " ".join(text[:ACTIVITY_LIMIT].split())


def _decimal(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None
