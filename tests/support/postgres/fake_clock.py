"""A clock that can be moved under a running program, where libfaketime is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)


class FakeClock:
    """Shifts the time of day of programs started with its environment; durations stay what they are."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = next(
            (found for pattern in _LIBRARIES for found in Path("/").glob(pattern[1:])), None
        )
        self.seconds = 0.0
        self.shift(0.0)

    @property
    def is_there(self) -> bool:
        """Whether clocks can be moved on this machine."""
        return self._library is not None

    @property
    def environment(self) -> Mapping[str, str]:
        """For programs whose clock this is; nothing where it is not there."""
        if self._library is None:
            return {}
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Read at every look: all processes of one machine have one clock.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def shift(self, seconds: float) -> None:
        """Move the clock, forwards or back; programs see it at once."""
        self.seconds += seconds
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{self.seconds:+.3f}s\n", encoding="ascii")
        draft.replace(self._file)
