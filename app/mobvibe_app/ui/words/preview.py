"""Words for a running preview: phones, builds, usage, the app's console, and why a phone shows nothing."""

from __future__ import annotations

from textual.content import Content

from mobvibe_app.preview.facts import ConsoleLine, Hint, PreviewFacts, PreviewKnown, Usage
from mobvibe_app.ui.commands import shown
from mobvibe_app.ui.words.values import MUTED, duration, one_line, shortened

CONSOLE_LINES = 3
WARNING, BAD, GOOD = "$text-warning", "$text-error", "$text-success"
_LEVELS = {"error": BAD, "warn": WARNING}


def known_lines(known: PreviewKnown, width: int) -> list[Content]:
    """A preview's rows below its address, at most `width` cells each."""
    facts = known.facts
    if facts.ended is not None:
        return [Content.styled(f"○ stopped · {shown('qr')} starts it again", WARNING)]
    lines = hint_lines(known.hint, width) if known.hint else [_progress(facts)]
    if facts.usage is not None:
        lines.append(Content.styled(shortened(usage_words(facts.usage), width), MUTED))
    lines.extend(_console(line, width) for line in facts.lines[-CONSOLE_LINES:])
    return [line for line in lines if line.plain]


def hint_lines(hint: Hint, width: int, *, in_short: bool = False) -> list[Content]:
    """What is in the way, what to do, and the page that says more; in short only the first."""
    parts = [(hint.message, WARNING)]
    if not in_short:
        parts += [(hint.remedy, ""), (hint.page, MUTED)]
    return [
        line
        for text, style in parts
        for line in Content(one_line(text)).stylize(style).wrap(max(width, 10))
    ]


def usage_words(usage: Usage) -> str:
    """CPU, memory and, if it is counted, the network."""
    words = [f"CPU {usage.cpu_percent:.0f} %", _size(usage.memory_bytes)]
    if usage.received_bytes is not None and usage.sent_bytes is not None:
        words.append(f"↓{_size(usage.received_bytes)} ↑{_size(usage.sent_bytes)}")
    return " · ".join(words)


def _progress(facts: PreviewFacts) -> Content:
    if facts.building is not None:
        words = f"◐ building: {facts.building.done} of {facts.building.total} modules"
        return Content.styled(words, WARNING)
    phones = len(facts.phones)
    if phones:
        bundle = f" · bundle {duration(facts.bundle_seconds)}" if facts.bundled_at else ""
        devices = f"{phones} device{'s' if phones > 1 else ''}"
        return Content.styled(f"● open on {devices}{bundle}", GOOD)
    if facts.bundled_at is not None:
        return Content.styled(
            f"○ open nowhere now · bundle {duration(facts.bundle_seconds)}", MUTED
        )
    return Content.styled("○ not opened yet", MUTED)


def _console(line: ConsoleLine, width: int) -> Content:
    text = shortened(f"▯ {one_line(line.text)}", width)
    return Content.styled(text, _LEVELS.get(line.level, MUTED))


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1_000:.0f} kB"
    if count < 1_000_000_000:
        megabytes = count / 1_000_000
        return f"{megabytes:.1f} MB" if megabytes < 10 else f"{megabytes:.0f} MB"
    return f"{count / 1_000_000_000:.1f} GB"
