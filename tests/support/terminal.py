"""Runs a program in a real pseudo-terminal: sends keys, reads the drawn screen and its QR codes.

It knows nothing about the program and sees only what a person's terminal would draw.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyte
import zxingcpp

from support.polling import patient

CELL_WIDTH, CELL_HEIGHT = 8, 16
NAMED = {"black": 0x000000, "white": 0xE5E5E5, "brightwhite": 0xFFFFFF, "default": 0x000000}
QUADRANTS = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "ctrl+c": "\x03",
    "ctrl+j": "\n",
    "ctrl+p": "\x10",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
}
SHOW_CURSOR, LEAVE_ALTERNATE = b"\x1b[?25h", b"\x1b[?1049l"


class Terminal:
    """Runs `command` with its own controlling terminal. As a context manager it ends the program."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.columns, self.rows = columns, rows
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._raw = bytearray()
        self._lock = threading.Lock()
        self._text = ""
        self._drawn = (-1, 0, 0)
        self._is_open = True
        self.started_at = time.monotonic()
        self._fd, child = pty.openpty()
        self.resize(columns, rows)
        self.modes_before = termios.tcgetattr(self._fd)
        base = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        # Python's readline sets COLUMNS and LINES in this process, which would override the terminal's own size.
        given = {**base, **(env or {})}
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=child,
            stdout=child,
            stderr=child,
            env={name: value for name, value in given.items() if name not in ("COLUMNS", "LINES")},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(child)
        self._reader = threading.Thread(target=self._read, name="terminal-reader", daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program, by SIGKILL if it ignores SIGTERM, and close the terminal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patient(10))
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(patient(10))
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal, as if its window were closed."""
        if self._is_open:
            self._is_open = False
            self._reader.join(patient(5))
            os.close(self._fd)

    def resize(self, columns: int, rows: int) -> None:
        with self._lock:
            self._screen.resize(rows, columns)
            self.columns, self.rows = columns, rows
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, *keys: str) -> None:
        """Press keys, each given by name (`enter`, `ctrl+c`) or as a character."""
        for key in keys:
            os.write(self._fd, KEYS.get(key, key).encode())

    def type(self, text: str) -> None:
        """Type text, character by character."""
        self.press(*text)

    def paste(self, text: str) -> None:
        """Paste text with bracketed paste, as terminals do."""
        os.write(self._fd, b"\x1b[200~" + text.encode() + b"\x1b[201~")

    @property
    def text(self) -> str:
        """The drawn screen, one line per row."""
        with self._lock:
            if self._drawn != (state := self._state()):
                self._text = "\n".join(line.rstrip() for line in self._screen.display)
                self._drawn = state
            return self._text

    def _state(self) -> tuple[int, int, int]:
        """Changes whenever the drawn screen may have changed, so that waiting costs almost nothing."""
        return len(self._raw), self.columns, self.rows

    @property
    def raw(self) -> bytes:
        """All bytes that the program has written."""
        with self._lock:
            return bytes(self._raw)

    @property
    def title(self) -> str:
        """The window title that the program set."""
        return str(self._screen.title)

    @property
    def is_restored(self) -> bool:
        """Whether the modes are as before, the cursor is visible and the alternate screen is closed."""
        raw = self.raw
        is_left = raw.rfind(LEAVE_ALTERNATE) > raw.rfind(b"\x1b[?1049h")
        is_shown = raw.rfind(SHOW_CURSOR) > raw.rfind(b"\x1b[?25l")
        no_mouse = all(
            raw.rfind(b"\x1b[?%dl" % mode) > raw.rfind(b"\x1b[?%dh" % mode)
            for mode in (1000, 1003, 1006, 2004, 1004)
            if b"\x1b[?%dh" % mode in raw
        )
        return is_left and is_shown and no_mouse and self.modes_now == self.modes_before

    @property
    def modes_now(self) -> list[Any]:
        return termios.tcgetattr(self._fd)

    def wait_for(
        self, what: str | re.Pattern[str] | Callable[[str], bool], seconds: float = 15.0
    ) -> str:
        """Return the screen as soon as it shows a text, matches a pattern or satisfies a function.

        Raises AssertionError after `seconds` (scaled).
        """
        deadline = time.monotonic() + patient(seconds)
        while True:
            text = self.text
            if isinstance(what, str):
                is_there = what in text
            elif isinstance(what, re.Pattern):
                is_there = what.search(text) is not None
            else:
                is_there = what(text)
            if is_there:
                return text
            assert time.monotonic() < deadline, f"not within {seconds} s: {what!r}\n{text}"
            time.sleep(0.01)

    def wait_for_qr(self, seconds: float = 15.0) -> str:
        """Return the text of the QR code as soon as it can be read from the drawn cells."""
        deadline = time.monotonic() + patient(seconds)
        looked_at = None
        while True:
            if looked_at != (looked_at := self._state()) and (found := self.read_qr()):
                return found
            assert time.monotonic() < deadline, f"no QR code within {seconds} s\n{self.text}"
            time.sleep(0.05)

    def wait_for_exit(self, seconds: float = 15.0) -> int:
        """Wait until the program has exited and all its output is read. Returns the exit code."""
        code = self.process.wait(patient(seconds))
        deadline = time.monotonic() + patient(5)
        while self._reader.is_alive() and time.monotonic() < deadline:
            if not select.select([self._fd], [], [], 0.05)[0]:
                break
        return code

    def read_qr(self) -> str:
        """The text of the QR code on the screen; empty if none can be read."""
        return next((found.text for found in zxingcpp.read_barcodes(self.pixels())), "")

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The screen as rows x columns x BGR, with each cell's background and block glyph."""
        shape = (self.rows * CELL_HEIGHT, self.columns * CELL_WIDTH, 3)
        image: npt.NDArray[np.uint8] = np.zeros(shape, np.uint8)
        with self._lock:
            for y in range(self.rows):
                for x in range(self.columns):
                    cell = self._screen.buffer[y][x]
                    fg, bg = _colour(cell.fg, 0xFFFFFF), _colour(cell.bg, 0x000000)
                    if cell.reverse:
                        fg, bg = bg, fg
                    halves = QUADRANTS.get(cell.data, (False, False))
                    for part, is_filled in enumerate(halves):
                        top = y * CELL_HEIGHT + part * CELL_HEIGHT // 2
                        left = x * CELL_WIDTH
                        area = image[top : top + CELL_HEIGHT // 2, left : left + CELL_WIDTH]
                        area[:] = fg if is_filled else bg
        return image

    def _read(self) -> None:
        while self._is_open:
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self._raw += data
                self._stream.feed(data)


def _colour(name: str, default: int) -> tuple[int, int, int]:
    """Convert a pyte colour (a name or six hex digits) to BGR."""
    if name == "default":
        value = default
    elif name in NAMED:
        value = NAMED[name]
    elif re.fullmatch(r"[0-9a-fA-F]{6}", name):
        value = int(name, 16)
    else:
        value = 0x808080
    return value & 0xFF, value >> 8 & 0xFF, value >> 16
