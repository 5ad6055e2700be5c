"""Turns stored events into entries of the stream: a glyph, safe text, and the tones of its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Literal

from mobvibe_app.ui.commands import shown
from mobvibe_app.ui.words.event_marks import CHANGE_MARKS, glyph
from mobvibe_app.ui.words.values import count, duration, money, one_line, shortened_path
from mobvibe_worker.events import (
    Completion,
    ErrorRaised,
    Event,
    FileChange,
    Message,
    PreviewReady,
    Terminal,
    Thinking,
)
from mobvibe_worker.sanitize import clean_text

Tone = Literal["plain", "muted", "person", "thinking", "command", "good", "changed", "bad"]
TEXT_LIMIT = 20_000
OUTPUT_LINES = 14
PATH_WIDTH = 44
_CHANGE_TONES: dict[str, Tone] = {
    "created": "good",
    "modified": "changed",
    "deleted": "bad",
    "renamed": "changed",
}


@dataclass(slots=True)
class Entry:
    """One event (or all deltas of one thought) of the stream. `tones` are (start, end, tone) within `text`."""

    at: datetime
    glyph: str
    tone: Tone
    text: str
    tones: list[tuple[int, int, Tone]] = field(default_factory=list)
    key: str = ""
    """What a later event of the same thought or check shares with this one; empty if none can follow."""
    is_thought: bool = False
    is_error: bool = False

    def add(self, text: str, tone: Tone | None = None) -> Entry:
        """Append text, in the entry's own tone or another; returns itself."""
        start = len(self.text)
        self.text += text
        if tone is not None:
            self.tones.append((start, len(self.text), tone))
        return self

    def apply(self, later: Entry) -> None:
        """Take over a later event with the same key: the next words of a thought, or how a check ended."""
        if self.is_thought:
            if len(self.text) < TEXT_LIMIT:
                self.text += later.text
            return
        self.text, self.tones = later.text, later.tones
        self.glyph, self.tone = later.glyph, later.tone
        self.key, self.is_error = "", later.is_error


def entry_of(event: Event) -> Entry:
    """The entry that shows an event. Text from outside is cleaned here, once."""
    payload = event.payload
    match payload:
        case Message(text=text, author="person"):
            return Entry(event.created_at, glyph(payload), "person", _safe(text))
        case Message(text=text, author="phone"):
            is_error = text.startswith("error: ")
            tone: Tone = "bad" if is_error else "muted"
            return Entry(event.created_at, glyph(payload), tone, _safe(text), is_error=is_error)
        case Message(text=text):
            return Entry(event.created_at, glyph(payload), "plain", _safe(text))
        case Thinking(text=text, block=block):
            key = f"{event.job_id}/{block}" if block else ""
            return Entry(
                event.created_at, glyph(payload), "thinking", _safe(text), key=key, is_thought=True
            )
        case Terminal():
            return _terminal(event, payload)
        case FileChange():
            return _file(event, payload)
        case PreviewReady():
            return _preview(event, payload)
        case Completion():
            return _completion(event, payload)
        case ErrorRaised():
            return _error(event, payload)
    return Entry(event.created_at, "·", "muted", f"{one_line(event.type)} (of an unknown shape)")


def _safe(text: str) -> str:
    return clean_text(text, TEXT_LIMIT).replace("\t", "  ")


def _terminal(event: Event, payload: Terminal) -> Entry:
    entry = Entry(event.created_at, glyph(payload), "command", one_line(payload.command))
    entry.key = f"{event.job_id}$ {entry.text}"
    seconds = "" if payload.seconds is None else f" {duration(payload.seconds)}"
    if payload.outcome == "passed":
        entry.add(f"  ✓{seconds}", "good")
        output = _safe(payload.output).strip()
        return entry.add(f"\n{output}", "muted") if output else entry
    if payload.outcome == "failed":
        entry.is_error, entry.glyph, entry.tone = True, "✖", "bad"
        entry.add(f"  failed{seconds}", "muted")
        lines = [line.rstrip() for line in _safe(payload.output).splitlines() if line.strip()]
        for line in lines[:OUTPUT_LINES]:
            entry.add(f"\n{line}")
        if len(lines) > OUTPUT_LINES:
            entry.add(f"\n{len(lines) - OUTPUT_LINES} more lines", "muted")
        return entry
    return entry.add("  …", "muted")


def _file(event: Event, payload: FileChange) -> Entry:
    verb, tone = CHANGE_MARKS[payload.change], _CHANGE_TONES[payload.change]
    path = shortened_path(one_line(payload.path), PATH_WIDTH)
    entry = Entry(event.created_at, glyph(payload), "changed", "").add(verb, tone)
    entry.add(f" {f'+{payload.added}':>5}", "good")
    entry.add(f" {f'−{payload.removed}':>4}", "bad" if payload.removed else "muted")
    entry.add(f"  {path}", "plain")
    if payload.origin:
        entry.add(f"  was {shortened_path(one_line(payload.origin), PATH_WIDTH)}", "muted")
    return entry


def _preview(event: Event, payload: PreviewReady) -> Entry:
    if payload.url.startswith("http"):
        entry = Entry(event.created_at, glyph(payload), "good", "In the browser: ").add(
            one_line(payload.url)
        )
        return entry.add(f"   {shown('open')} opens it", "muted")
    entry = Entry(event.created_at, glyph(payload), "good", "On the phone: ").add(
        one_line(payload.url)
    )
    return entry.add(f"   scan with Expo Go, SDK {payload.sdk}", "muted")


def _completion(event: Event, payload: Completion) -> Entry:
    entry = Entry(event.created_at, glyph(payload), "good", f"Done in {duration(payload.seconds)}")
    files = f"{payload.files} file{'' if payload.files == 1 else 's'}"
    cost = _cost(payload)
    entry.add(f" · {files} · {count(payload.tokens)} tokens · {cost}", "plain")
    checks = _checks(payload)
    if checks:
        entry.add(f"\nchecked: {checks}", "muted")
    return entry


def _cost(payload: Completion) -> str:
    try:
        return "price unknown" if payload.cost_usd is None else money(Decimal(payload.cost_usd))
    except InvalidOperation:
        return "price unknown"


def _checks(payload: Completion) -> str:
    checks = payload.report.get("checks")
    if not isinstance(checks, list):
        return ""
    named = [each for each in checks if isinstance(each, dict) and each.get("is_green") is True]
    words = [f"{one_line(str(each.get('name', '')))} ✓" for each in named]
    is_sandboxed = payload.report.get("sandboxed")
    if words and isinstance(is_sandboxed, bool):
        words.append("sandboxed" if is_sandboxed else "unsandboxed")
    return " · ".join(words)


def _error(event: Event, payload: ErrorRaised) -> Entry:
    if payload.is_cancelled:
        return Entry(event.created_at, glyph(payload), "muted", _safe(payload.message))
    entry = Entry(event.created_at, glyph(payload), "bad", _safe(payload.message), is_error=True)
    if payload.remedy:
        entry.add(f"\n{_safe(payload.remedy)}", "plain")
    if payload.will_retry:
        entry.add("\nThe last working version stays; another attempt follows.", "muted")
    return entry
