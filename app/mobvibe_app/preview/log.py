"""Follows a preview's log from the start of its running Metro on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobvibe_app.preview.events import parse_event
from mobvibe_app.preview.facts import PreviewEvent

POLL_SECONDS = 0.2
_MOST_BYTES = 1_000_000
_LONGEST_LINE = 64_000


@dataclass(slots=True)
class PreviewLog:
    """One log from byte `offset` on. Its events are the lines that begin with `mark`."""

    path: Path
    mark: str
    offset: int
    _rest: bytes = b""

    def read(self) -> list[PreviewEvent]:
        """The events since the last call, of at most 1 MB of log."""
        lines = self._lines()
        found = (parse_event(line.decode(errors="replace"), self.mark) for line in lines)
        return [event for event in found if event is not None]

    def _lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as log:
                if log.seek(0, 2) < self.offset:  # Rotated: a new one began.
                    self.offset, self._rest = 0, b""
                log.seek(self.offset)
                chunk = log.read(_MOST_BYTES)
        except FileNotFoundError:
            return []
        self.offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[:_LONGEST_LINE]
        return lines
