"""What a running Metro knows of a project's folder: its watcher is late, the later the busier the machine is."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from uuid import uuid4

HIDDEN_FOLDER = ".mobvibe"
"""Holds the marker; revisions keep no hidden folders."""
_QUERY = "platform=ios&dev=true&modulesOnly=true&runModule=false&shallow=true"
_SOURCES = frozenset({".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".json"})
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
_POLL_SECONDS = 0.02
_TOUCH_SECONDS = 1.0
_OURS_SECONDS = 2.0
_ANSWER_SECONDS = 60.0
_OUR_AGENT = "mobvibe-tui"
"""By which the preview's own watch tells our questions from a phone's."""


class MetroView:
    """One project as the Metro on that loopback port sees it."""

    def __init__(self, root: Path, port: int) -> None:
        self._root = root
        self._port = port

    @property
    def marker(self) -> Path:
        """The file by which the watcher's progress is seen. It must be there before Metro starts."""
        return self._root / HIDDEN_FOLDER / "marker.js"

    def write_marker(self) -> str:
        """Give the marker new content that is nowhere else; returns it."""
        mark = uuid4().hex
        self.marker.parent.mkdir(exist_ok=True)
        self.marker.write_text(f"module.exports = '{mark}';\n", encoding="utf-8")
        return mark

    def catch_up(self, added: Iterable[str], *, seconds: float) -> bool:
        """Block until Metro knows the `added` files and every write before this call.

        False where it does not within `seconds`, and at once where no Metro, or another project's, is on the port.

        Changes of known files reach Metro in the order of the writes, but for neighbours, which may swap places, as
        it looks at each file on its own: so two markers pass, one after the other. Files of a new folder come later,
        or never where they appeared before Metro watched the folder: each is asked for by its name, and touched.
        """
        deadline = time.monotonic() + seconds
        try:
            return (
                self._is_ours()
                and self._passes_marker(deadline)
                and all(self._knows(path, deadline) for path in added if _is_watched(path))
                and self._passes_marker(deadline)
            )
        except (OSError, http.client.HTTPException):
            return False

    def _is_ours(self) -> bool:
        """The Metro on the port has this project's marker, from its start or from the last time."""
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
        """Metro answers 404 for a file that it does not know, and 500 for one that it knows and cannot compile."""
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
            connection.request("GET", path, headers={"user-agent": _OUR_AGENT})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _is_watched(path: str) -> bool:
    """Sources and pictures; of a picture's sizes (icon@2x.png) only the first has a name of its own."""
    name = PurePosixPath(path)
    return (
        name.suffix in _SOURCES | _PICTURES
        and "@" not in name.name
        and path.isascii()
        and " " not in path
    )
