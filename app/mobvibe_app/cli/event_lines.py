"""Events as plain lines and as JSON, for `run` and `events`."""

from __future__ import annotations

from typing import Any

from mobvibe_app.ui.words.event_marks import CHANGE_MARKS, glyph
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


def event_data(event: Event) -> dict[str, Any]:
    return {
        "session_id": str(event.session_id),
        "seq": event.seq,
        "job_id": str(event.job_id) if event.job_id else None,
        "type": event.type,
        "data": dict(event.data),
        "created_at": event.created_at.isoformat(),
    }


def event_line(payload: Payload) -> str | None:
    """The line of one event; None if a plain log shows nothing."""
    words = _words(payload)
    return f"{glyph(payload)} {words}" if words else None


def _words(payload: Payload) -> str:
    match payload:
        case Thinking(text=text):
            return text.strip()
        case Message(text=text):
            return text
        case Terminal():
            return _terminal(payload)
        case FileChange(path=path, change=change, added=added, removed=removed):
            return f"{CHANGE_MARKS[change]} {path}  +{added} −{removed}"
        case PreviewReady(url=url):
            return f"preview ready: {url}"
        case Completion():
            return _completion(payload)
        case ErrorRaised(message=message, remedy=remedy):
            return f"{message} {remedy}".rstrip()


def _terminal(payload: Terminal) -> str:
    seconds = "" if payload.seconds is None else f"  {payload.seconds:.1f}s"
    mark = {"passed": "  ✓", "failed": "  ✖", None: ""}[payload.outcome]
    output = "".join(f"\n    {line}" for line in payload.output.splitlines())
    return f"{payload.command}{mark}{seconds}{output}"


def _completion(payload: Completion) -> str:
    cost = "price unknown" if payload.cost_usd is None else f"${payload.cost_usd}"
    return (
        f"done in {payload.seconds:.0f}s · {payload.files} files changed · "
        f"{payload.tokens:,} tokens · {cost}"
    )
