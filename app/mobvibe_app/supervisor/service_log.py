"""The log file of one service: kept small, and read from where its newest start began."""

from __future__ import annotations

from pathlib import Path

from mobvibe_worker.sanitize import clean_text

_LARGEST = 5_000_000
_MOST_READ = 200_000


class ServiceLog:
    """One log file; it need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rotate(self) -> int:
        """The size of the log, in bytes, from which the next start's lines follow; a large one is put aside first."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return 0
        if size <= _LARGEST:
            return size
        self.path.replace(self.path.with_suffix(".log.1"))
        return 0

    def said(self, offset: int) -> str:
        """The end of what was printed from `offset` on, cleaned."""
        try:
            with self.path.open("rb") as log:
                log.seek(offset)
                return clean_text(log.read()[-_MOST_READ:].decode(errors="replace"))
        except FileNotFoundError:
            return ""
