"""Keeps the stream's entries and the rows that they wrap to; a ring that stays fast at 100,000 rows."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size

from mobvibe_app.ui.stream.entries import Entry, entry_of
from mobvibe_worker.events import Event

MOST_ENTRIES = 50_000
OPEN_KEYS = 64


class Row(NamedTuple):
    """One row of the stream: characters `start` to `end` of entry number `entry`; `part` counts the entry's rows."""

    entry: int
    start: int
    end: int
    part: int


class StreamBuffer:
    """Numbered entries, and their rows at one width. The oldest are dropped when there are too many."""

    def __init__(self, limit: int = MOST_ENTRIES) -> None:
        self._limit = limit
        self._entries: list[Entry] = []
        self._first = 0
        self._open: OrderedDict[str, int] = OrderedDict()
        self.rows: list[Row] = []
        self.changed_row = 0
        """The first row that the last change rebuilt."""
        self.width = 80
        self.is_wrapped = True
        self.has_thoughts = True

    def entry(self, number: int) -> Entry:
        return self._entries[number - self._first]

    @property
    def entries(self) -> int:
        return len(self._entries)

    @property
    def widest(self) -> int:
        """The cells of the longest row; only needed if rows are not wrapped."""
        return max((cell_len(self.text(row)) for row in self.rows), default=0)

    def text(self, row: Row) -> str:
        return self.entry(row.entry).text[row.start : row.end]

    def clear(self) -> None:
        self._entries.clear()
        self._open.clear()
        self.rows.clear()
        self._first = 0

    def extend(self, events: Iterable[Event]) -> int:
        """Add events in order; returns how many of the oldest rows were dropped."""
        end = self._first + len(self._entries)
        changed = end
        for event in events:
            entry = entry_of(event)
            if event.type == "error":
                self._forget(str(event.job_id))
            number = self._open.get(entry.key) if entry.key else None
            if number is not None and number >= self._first:
                self.entry(number).apply(entry)
                changed = min(changed, number)
                if not self.entry(number).key:
                    del self._open[entry.key]
                continue
            if entry.key:
                self._remember(entry.key, self._first + len(self._entries))
            self._entries.append(entry)
        self._lay_out_from(changed)
        return self._drop_oldest()

    def lay_out(self, width: int, *, is_wrapped: bool, has_thoughts: bool) -> None:
        """Rebuild the rows for `width` cells of text."""
        self.width, self.is_wrapped, self.has_thoughts = width, is_wrapped, has_thoughts
        self._lay_out_from(self._first)

    def row_at(self, entry: int, offset: int) -> int:
        """The index of the row that holds a character of an entry."""
        index = bisect_left(self.rows, (entry, offset + 1)) - 1
        return max(index, 0)

    def find(self, pattern: re.Pattern[str]) -> list[int]:
        """The indexes of the rows in which a match begins, in order."""
        found: list[int] = []
        for row in self.rows:
            if row.part:
                continue
            for match in pattern.finditer(self.entry(row.entry).text):
                index = self.row_at(row.entry, match.start())
                if not found or found[-1] != index:
                    found.append(index)
        return found

    def errors(self) -> list[int]:
        """The indexes of the rows at which an error begins, in order."""
        rows = enumerate(self.rows)
        return [i for i, row in rows if not row.part and self.entry(row.entry).is_error]

    def _remember(self, key: str, number: int) -> None:
        self._open[key] = number
        if len(self._open) > OPEN_KEYS:
            self._open.popitem(last=False)

    def _forget(self, job: str) -> None:
        """Close what the job's last attempt left open; the next attempt starts its own entries."""
        for key in [key for key in self._open if key.startswith(job)]:
            del self._open[key]

    def _lay_out_from(self, number: int) -> None:
        self.changed_row = bisect_left(self.rows, (number,))
        del self.rows[self.changed_row :]
        for each in range(number, self._first + len(self._entries)):
            entry = self.entry(each)
            if entry.is_thought and (not self.has_thoughts or not entry.text.strip()):
                continue
            spans = row_spans(entry.text, self.width if self.is_wrapped else 0)
            self.rows.extend(Row(each, start, end, part) for part, (start, end) in enumerate(spans))

    def _drop_oldest(self) -> int:
        if len(self._entries) <= self._limit:
            return 0
        surplus = len(self._entries) - self._limit * 9 // 10
        self._first += surplus
        del self._entries[:surplus]
        gone = bisect_left(self.rows, (self._first,))
        del self.rows[:gone]
        return gone


def row_spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Where the rows of a text start and end, wrapped at words to `width` cells (0: not at all)."""
    end = len(text.rstrip())
    start = next((i for i, char in enumerate(text) if char != "\n"), 0)
    while True:
        stop = text.find("\n", start, end)
        stop = end if stop == -1 else stop
        if width <= 0 or stop - start <= width // 2 or cell_len(text[start:stop]) <= width:
            yield start, stop
        else:
            yield from _wrapped(text, start, stop, width)
        if stop >= end:
            return
        start = stop + 1


def _wrapped(text: str, start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        cut = _fitting(text, start, stop, width)
        if cut < stop and text[cut] != " ":
            space = text.rfind(" ", start + 1, cut)
            cut = space if space > start and text[start:space].strip() else cut
        yield start, cut
        start = cut
        while start < stop and text[start] == " ":
            start += 1


def _fitting(text: str, start: int, stop: int, width: int) -> int:
    """The end of the longest piece from `start` that takes at most `width` cells (at least one character)."""
    if text.isascii():
        return min(start + width, stop)
    cells = 0
    for index in range(start, stop):
        cells += get_character_cell_size(text[index])
        if cells > width:
            return max(index, start + 1)
    return stop
