"""The events of a session, and their data in `session_events.data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from mobvibe_worker.jobs import JobId, SessionId

EventType = Literal[
    "thinking", "terminal", "file_change", "preview_ready", "completion", "error", "message"
]


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought or said during a job. The pieces of one thought share a `block`."""

    type: ClassVar[EventType] = "thinking"
    text: str
    block: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What the person typed, what the agent answered, or a line of the running app's console (`phone`)."""

    type: ClassVar[EventType] = "message"
    text: str
    author: Literal["person", "agent", "phone"] = "agent"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A check or an install that the program ran. `outcome` is None while it runs."""

    type: ClassVar[EventType] = "terminal"
    command: str
    outcome: Literal["passed", "failed"] | None = None
    output: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A changed file of the staged folder, with its lines added and removed. `origin` is a renamed file's old path."""

    type: ClassVar[EventType] = "file_change"
    path: str
    change: Literal["created", "modified", "deleted", "renamed"]
    added: int = 0
    removed: int = 0
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """A revision is served. `url` is what the QR code holds (exp://host:port)."""

    type: ClassVar[EventType] = "preview_ready"
    url: str
    sdk: int
    revision: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The job is done and its revision committed. `report` is CheckReport.to_data()."""

    type: ClassVar[EventType] = "completion"
    revision: str
    report: dict[str, Any]
    summary: str = ""
    files: int = 0
    turns: int = 0
    tokens: int = 0
    cost_usd: str | None = "0"
    """Exact decimal text; None if the model's price is unknown."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorRaised:
    """An attempt failed; without `will_retry` the whole job did."""

    type: ClassVar[EventType] = "error"
    message: str
    remedy: str = ""
    will_retry: bool = False
    is_cancelled: bool = False


Payload = Thinking | Message | Terminal | FileChange | PreviewReady | Completion | ErrorRaised
_PAYLOADS: dict[str, type[Payload]] = {
    payload.type: payload
    for payload in (Thinking, Message, Terminal, FileChange, PreviewReady, Completion, ErrorRaised)
}


@dataclass(frozen=True, slots=True)
class Event:
    """One stored event. `seq` counts from 1 within its session, without gaps."""

    session_id: SessionId
    seq: int
    job_id: JobId | None
    type: EventType
    data: Mapping[str, Any]
    created_at: datetime
    payload: Payload | None = field(init=False, repr=False, compare=False)
    """`data` as a typed value; None if its shape is unknown, as plain SQL may insert anything."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload", _payload(self.type, self.data))


def to_data(payload: Payload) -> dict[str, Any]:
    return asdict(payload)


def _payload(event_type: EventType, data: Mapping[str, Any]) -> Payload | None:
    shape = _PAYLOADS.get(event_type)
    if shape is None:
        return None
    hints = _hints(event_type)
    values = {name: value for name, value in data.items() if name in hints}
    if not all(_fits(value, hints[name]) for name, value in values.items()):
        return None
    try:
        return shape(**values)
    except TypeError:
        return None


@cache
def _hints(event_type: EventType) -> Mapping[str, Any]:
    shape = _PAYLOADS[event_type]
    hints = get_type_hints(shape)
    return {field.name: hints[field.name] for field in fields(shape)}


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return isinstance(value, str | None) and value in get_args(hint)
    if get_origin(hint) in (UnionType, Union):
        return any(_fits(value, each) for each in get_args(hint))
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(value, get_origin(hint) or hint)
