"""The marks of events, the same in the command line and in the dashboard's stream."""

from __future__ import annotations

from mobvibe_worker.events import (
    Completion,
    ErrorRaised,
    FileChange,
    Message,
    Payload,
    PreviewReady,
    Terminal,
    Thinking,
)

CHANGE_MARKS = {"created": "+", "modified": "M", "deleted": "-", "renamed": "R"}
_AUTHORS = {"person": "▸", "agent": "◆", "phone": "▯"}


def glyph(payload: Payload) -> str:
    match payload:
        case Message(author=author):
            return _AUTHORS[author]
        case Thinking():
            return "…"
        case Terminal():
            return "$"
        case FileChange():
            return "±"
        case PreviewReady():
            return "▣"
        case Completion():
            return "✔"
        case ErrorRaised(is_cancelled=is_cancelled):
            return "■" if is_cancelled else "✖"
