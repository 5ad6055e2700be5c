"""The widget of the live stream; it draws single rows, so that 100,000 of them scroll like ten."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from mobvibe_app.ui.commands import STREAM_KEYS, bindings
from mobvibe_app.ui.stream.buffer import Row, StreamBuffer
from mobvibe_app.ui.stream.row import TONES, Ink, gutter_width, row_text
from mobvibe_worker.events import Event

FRAMES_PER_SECOND = 10
QUIET_SECONDS = 1.0
LEAST_WIDTH_WITH_CLOCK = 56


class StreamView(ScrollView, can_focus=True):
    """Follows the end; scrolling up stops that, and new rows are then counted instead."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"stream--{tone}" for tone in TONES} | {
        "stream--match"
    }
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(STREAM_KEYS)]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._buffer = StreamBuffer()
        self._pending: deque[Event] = deque()
        self._strips: dict[int, Strip] = {}
        self._last_seq = 0
        self._seen_rows = 0
        self._last_growth = 0.0
        self._arrived = 0
        self._matches: list[int] = []
        self._pattern: re.Pattern[str] | None = None
        self._match = 0
        self._error = -1
        self.is_following = True
        self._wants_clock = True
        self.is_wrapped = True
        self.has_thoughts = True

    def on_mount(self) -> None:
        """Draw what arrived, at most ten times a second."""
        self.set_interval(1 / FRAMES_PER_SECOND, self._flush)
        self.watch(self.app, "theme", self._redraw, init=False)

    def feed(self, arrived: Iterable[Event]) -> None:
        """Add the session's events, in order, except those it already has; the next frame draws them."""
        for event in arrived:
            if event.seq > self._last_seq:
                self._last_seq = event.seq
                self._pending.append(event)
                self._arrived += 1

    def clear(self) -> None:
        self._pending.clear()
        self._buffer.clear()
        self._last_seq = 0
        self._seen_rows = 0
        self._error = -1
        self.is_following = True
        self.virtual_size = Size(0, 0)
        self.end_search()

    def take_arrived(self) -> int:
        """How many events arrived since the last call."""
        arrived, self._arrived = self._arrived, 0
        return arrived

    @property
    def new_rows(self) -> int:
        """How many rows arrived below since the person scrolled up."""
        return 0 if self.is_following else max(len(self._buffer.rows) - self._seen_rows, 0)

    @property
    def has_clock(self) -> bool:
        """Whether the clock is shown: it is wanted, and leaves room for words."""
        return self._wants_clock and self.size.width >= LEAST_WIDTH_WITH_CLOCK

    @property
    def has_errors(self) -> bool:
        return bool(self._buffer.errors())

    @property
    def match_place(self) -> str:
        """The place among the matches, as 3/17; empty without a search."""
        place = self._match + 1 if self._matches else 0
        return f"{place}/{len(self._matches)}" if self._pattern else ""

    def follow(self) -> None:
        self.is_following = True
        self._grow()
        self._stay_at_end()

    def toggle(self, name: str) -> None:
        """Switch `clock`, `wrap` or `thoughts`, keeping the first visible entry where it is."""
        if name == "clock":
            self._wants_clock = not self._wants_clock
        elif name == "wrap":
            self.is_wrapped = not self.is_wrapped
        else:
            self.has_thoughts = not self.has_thoughts
        self._lay_out()

    def search(self, needle: str) -> None:
        """Mark every match and show the last one."""
        if not needle:
            self.end_search()
            return
        self._pattern = re.compile(re.escape(needle), re.IGNORECASE)
        self._matches = self._buffer.find(self._pattern)
        self._redraw()
        self._show_match(len(self._matches) - 1)

    def end_search(self) -> None:
        self._pattern, self._matches, self._match = None, [], 0
        self._redraw()

    @property
    def is_searching(self) -> bool:
        return self._pattern is not None

    def next_match(self, step: int) -> None:
        """Show the next (1) or the previous (-1) match."""
        if self._pattern is not None:
            self._matches = self._buffer.find(self._pattern)
            self._show_match(self._match + step)

    def next_error(self, step: int) -> None:
        errors = self._buffer.errors()
        if errors:
            is_first_asked = self._error < 0 and step < 0
            self._error = (self._error + (0 if is_first_asked else step)) % len(errors)
            self._go_to(errors[self._error])

    def action_half_page(self, step: int) -> None:
        self.scroll_relative(y=step * (self.size.height // 2), animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following when the person scrolls up, and start again at the end."""
        super().watch_scroll_y(old_value, new_value)
        is_at_end = round(new_value) >= self.max_scroll_y
        if new_value < old_value and not is_at_end and self.is_following:
            self.is_following = False
            self._seen_rows = len(self._buffer.rows)
        elif is_at_end and self._is_grown:
            self.is_following = True

    def on_resize(self) -> None:
        self._lay_out()

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        index, width = scroll_y + y, self.size.width
        if index >= len(self._buffer.rows):
            return Strip.blank(width, self.rich_style)
        strip = self._strip(index)
        return strip.crop_extend(scroll_x, scroll_x + width, self.rich_style).apply_offsets(
            scroll_x, index
        )

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text without clock and glyph; wrapped rows are joined."""
        rows = self._buffer.rows
        first = selection.start.y if selection.start else 0
        last = selection.end.y if selection.end else len(rows) - 1
        parts: list[str] = []
        for index in range(first, min(last + 1, len(rows))):
            start, end = selection.get_span(index) or (0, -1)
            text = self._buffer.text(rows[index])
            gutter = self._gutter
            taken = text[max(start - gutter, 0) : None if end == -1 else max(end - gutter, 0)]
            joint = " " if parts and self._is_soft(rows[index]) else "\n" if parts else ""
            parts.append(joint + taken)
        return ("".join(parts), "\n") if parts else None

    def selection_updated(self, selection: Selection | None) -> None:
        del selection
        self._redraw()

    @property
    def _gutter(self) -> int:
        return gutter_width(has_clock=self.has_clock)

    @property
    def _is_grown(self) -> bool:
        return self.virtual_size.height >= len(self._buffer.rows)

    def _is_soft(self, row: Row) -> bool:
        return row.part > 0 and self._buffer.entry(row.entry).text[row.start - 1] != "\n"

    def _flush(self) -> None:
        if not self.size.width:
            return
        if self._pending:
            gone = self._buffer.extend(self._pending)
            self._pending.clear()
            if gone and not self.is_following:
                self._seen_rows = max(self._seen_rows - gone, 0)
                self.scroll_to(y=max(self.scroll_y - gone, 0), animate=False)
            if self.is_following:
                self.follow()
            below = self.scroll_offset.y + self.size.height
            if gone or self.is_following or self._buffer.changed_row < below:
                self._redraw()
        is_due = time.monotonic() - self._last_growth >= QUIET_SECONDS
        if not self._is_grown and is_due:
            self._grow()

    def _grow(self) -> None:
        """Give the scrollbar its new length; as this costs a layout, once a second unless the stream follows."""
        self._last_growth = time.monotonic()
        width = 0 if self.is_wrapped else self._buffer.widest + self._gutter + 1
        size = Size(width, len(self._buffer.rows))
        if size != self.virtual_size:
            self.virtual_size = size

    def _stay_at_end(self) -> None:
        """Go to the end. A new length arrives as a resize once it is laid out, which goes there again."""
        if self.is_following:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _lay_out(self) -> None:
        rows, top = self._buffer.rows, self.scroll_offset.y
        anchor = rows[top] if top < len(rows) and not self.is_following else None
        width = max(self.scrollable_content_region.width - self._gutter - 1, 10)
        self._buffer.lay_out(width, is_wrapped=self.is_wrapped, has_thoughts=self.has_thoughts)
        self._redraw()
        self._grow()
        if anchor is not None:
            self.scroll_to(y=self._buffer.row_at(anchor.entry, anchor.start), animate=False)
        else:
            self._stay_at_end()

    def _show_match(self, place: int) -> None:
        if self._matches:
            self._match = place % len(self._matches)
            self._go_to(self._matches[self._match])

    def _go_to(self, index: int) -> None:
        """Show a row in the upper third, and stop following unless that is the end."""
        self._grow()
        target = max(index - self.size.height // 3, 0)
        if target < self.max_scroll_y:
            self.is_following = False
            self._seen_rows = len(self._buffer.rows)
        self.scroll_to(y=target, animate=False)

    def _redraw(self) -> None:
        self._strips.clear()
        self.refresh()

    def _strip(self, index: int) -> Strip:
        if (known := self._strips.get(index)) is not None:
            return known
        if len(self._strips) > 1024:
            self._strips.clear()
        return self._strips.setdefault(index, self._drawn(index))

    def _drawn(self, index: int) -> Strip:
        selection = self.text_selection
        ink = Ink(
            {tone: self.get_component_rich_style(f"stream--{tone}") for tone in TONES},
            self.get_component_rich_style("stream--match", partial=True),
            self.screen.get_component_rich_style("screen--selection", partial=True),
        )
        text = row_text(
            self._buffer,
            self._buffer.rows[index],
            ink,
            has_clock=self.has_clock,
            pattern=self._pattern,
            selected=selection.get_span(index) if selection else None,
        )
        text.stylize_before(self.rich_style)
        return Strip(text.render(self.app.console))
