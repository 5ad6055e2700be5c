"""The log file of one service: kept small, and read from where its newest start began."""

from __future__ import annotations

from pathlib import Path

from mobvibe_worker.sanitize import clean_text

_LARGEST = 5_000_000
_MOST_READ = 200_000


class ServiceLog:
    """One log file; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """In bytes; 0 if there is no file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def rotate(self) -> int:
        """The size in bytes at which the next start's lines begin. A large log is first moved to `.log.1`."""
        size = self.size()
        if size <= _LARGEST:
            return size
        self.path.replace(self.path.with_suffix(".log.1"))
        return 0

    def tail(self, offset: int) -> str:
        """The end of what was printed from byte `offset` on, cleaned of terminal sequences."""
        try:
            with self.path.open("rb") as log:
                log.seek(offset)
                return clean_text(log.read()[-_MOST_READ:].decode(errors="replace"))
        except FileNotFoundError:
            return ""
