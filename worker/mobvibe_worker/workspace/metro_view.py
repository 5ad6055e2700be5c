"""Waits until a running Metro has noticed changed files: its watcher lags, the more so on a busy machine."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from uuid import uuid4

HIDDEN_FOLDER = ".mobvibe"
"""Holds the marker. It never becomes part of a revision, as hidden folders do not."""
_QUERY = "platform=ios&dev=true&modulesOnly=true&runModule=false&shallow=true"
_SOURCES = frozenset({".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".json"})
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
_POLL_SECONDS = 0.02
_TOUCH_SECONDS = 1.0
_OURS_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
USER_AGENT = "mobvibe-tui"
"""Sent with every request of ours, so that none of them is taken for a phone's."""


class MetroView:
    """One project as seen by the Metro on a loopback port."""

    def __init__(self, root: Path, port: int) -> None:
        self._root = root
        self._port = port

    @property
    def marker(self) -> Path:
        """The file that shows how far the watcher is. It must exist before Metro starts."""
        return self._root / HIDDEN_FOLDER / "marker.js"

    def write_marker(self) -> str:
        """Write a new unique text into the marker, and return it."""
        mark = uuid4().hex
        self.marker.parent.mkdir(exist_ok=True)
        self.marker.write_text(f"module.exports = '{mark}';\n", encoding="utf-8")
        return mark

    def catch_up(self, added: Iterable[str], *, seconds: float) -> bool:
        """Block until Metro knows the `added` files and every write before this call.

        Returns False if that takes longer than `seconds` from Metro's first answer on, and at once if there is no
        Metro on the port or it serves another project.

        Metro notices changes of known files in the order of the writes, except that adjacent ones may swap places, so
        two markers are sent one after the other. Files of a new folder are noticed later, or never if they were
        written before Metro watched the folder, so each of them is requested by name, and touched.
        """
        try:
            if not self._is_ours():
                return False
            deadline = time.monotonic() + seconds
            return (
                self._passes_marker(deadline)
                and all(self._knows(path, deadline) for path in added if _is_watched(path))
                and self._passes_marker(deadline)
            )
        except (OSError, http.client.HTTPException):
            return False

    def _is_ours(self) -> bool:
        try:
            mark = self.marker.read_text(encoding="utf-8").split("'")[1]
        except (FileNotFoundError, IndexError):
            self.write_marker()
            return False
        return self._shows(mark, time.monotonic() + _OURS_SECONDS)

    def _passes_marker(self, deadline: float) -> bool:
        return self._shows(self.write_marker(), deadline)

    def _shows(self, mark: str, deadline: float) -> bool:
        while mark.encode() not in self._bundle(f"{HIDDEN_FOLDER}/marker")[1]:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _knows(self, path: str, deadline: float) -> bool:
        """Metro answers 404 for a file that it does not know, and 500 for one that does not compile."""
        touch_at = time.monotonic() + _TOUCH_SECONDS
        while self._bundle(path)[0] == http.client.NOT_FOUND:
            if time.monotonic() > deadline:
                return False
            if time.monotonic() > touch_at:
                touch_at += _TOUCH_SECONDS
                os.utime(self._root / path, follow_symlinks=False)
            time.sleep(_POLL_SECONDS)
        return True

    def _bundle(self, entry: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_SECONDS)
        try:
            path = f"/{entry}.bundle?{_QUERY}"
            connection.request("GET", path, headers={"user-agent": USER_AGENT})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _is_watched(path: str) -> bool:
    """Whether Metro can be asked for this file by name; it has no names for scaled pictures (icon@2x.png)."""
    name = PurePosixPath(path)
    return (
        name.suffix in _SOURCES | _PICTURES
        and "@" not in name.name
        and path.isascii()
        and " " not in path
    )
