"""Draws one row of the stream as styled text: clock, glyph, and the words in their tones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from rich.style import Style
from rich.text import Text

from mobvibe_app.ui.stream.entries import Tone

if TYPE_CHECKING:
    from mobvibe_app.ui.stream.buffer import Row, StreamBuffer

CLOCK_WIDTH = 9
MARK_WIDTH = 3
TONES: tuple[Tone, ...] = get_args(Tone)


@dataclass(frozen=True, slots=True)
class Ink:
    """The styles of one theme."""

    tones: Mapping[Tone, Style]
    match: Style
    selected: Style


def gutter_width(*, has_clock: bool) -> int:
    """How many cells come before the words of a row."""
    return MARK_WIDTH + (CLOCK_WIDTH if has_clock else 0)


def row_text(
    buffer: StreamBuffer,
    row: Row,
    ink: Ink,
    *,
    has_clock: bool,
    pattern: re.Pattern[str] | None = None,
    selected: tuple[int, int] | None = None,
) -> Text:
    """The row with its gutter. `selected` is a span in cells of the whole row, -1 for its end."""
    entry = buffer.entry(row.entry)
    is_first = row.part == 0
    clock = f"{entry.at.astimezone():%H:%M:%S} " if is_first else " " * CLOCK_WIDTH
    text = Text(no_wrap=True, end="")
    text.append(f" {clock if has_clock else ''}", ink.tones["muted"])
    text.append(f"{entry.glyph if is_first else ' '} ", ink.tones[entry.tone])
    start = len(text)
    text.append(buffer.text(row), ink.tones[entry.tone])
    for tone_start, tone_end, tone in entry.tones:
        if tone_end > row.start and tone_start < row.end:
            shown = max(tone_start, row.start), min(tone_end, row.end)
            shift = start - row.start
            text.stylize(ink.tones[tone], shown[0] + shift, shown[1] + shift)
    if pattern is not None:
        for match in pattern.finditer(buffer.text(row)):
            text.stylize(ink.match, start + match.start(), start + match.end())
    if selected is not None:
        first, last = selected
        text.stylize(ink.selected, max(first, start), len(text) if last == -1 else last)
    return text
