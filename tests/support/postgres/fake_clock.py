"""A clock that can be shifted under a running program, if libfaketime is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)


class FakeClock:
    """Shifts the time of day of the programs that run with its environment. Durations do not change."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = next(
            (found for pattern in _LIBRARIES for found in Path("/").glob(pattern[1:])), None
        )
        self.seconds = 0.0
        self.shift(0.0)

    @property
    def is_available(self) -> bool:
        """Whether libfaketime is installed."""
        return self._library is not None

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of programs that use this clock; empty if it is not available."""
        if self._library is None:
            return {}
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Read the file at every call, so that all processes have the same time.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def shift(self, seconds: float) -> None:
        """Shift the clock forwards or back, with immediate effect."""
        self.seconds += seconds
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{self.seconds:+.3f}s\n", encoding="ascii")
        draft.replace(self._file)
