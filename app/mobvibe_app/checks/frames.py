"""The frames between us and a check container: pieces of numbered streams, as `inside.cjs` reads and writes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["connect", "run", "data", "end"]
LARGEST_FRAME = 4_000_000
"""Bytes. The container may be hostile and must not fill our memory with one frame."""
_HEAD = struct.Struct(">IcI")
_ENGINE_HEAD = struct.Struct(">BxxxI")
_STDOUT = 1
_LETTERS: dict[Kind, bytes] = {"connect": b"C", "run": b"R", "data": b"D", "end": b"E"}
_KINDS: dict[bytes, Kind] = {letter: kind for kind, letter in _LETTERS.items()}
_LAST_WORDS = 4_000


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of one stream."""

    number: int
    kind: Kind
    data: bytes = b""

    def encoded(self) -> bytes:
        return _HEAD.pack(self.number, _LETTERS[self.kind], len(self.data)) + self.data


class BadFrame(ValueError):
    """The received bytes are not a frame."""


@dataclass(slots=True)
class FrameReader:
    """Reads frames from an engine's attached stream, which adds a header of its own to each piece of output."""

    errors: bytearray = field(default_factory=bytearray)
    """The end of what the container printed to stderr."""
    _engine: bytearray = field(default_factory=bytearray)
    _inner: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Add bytes; returns the frames that are complete now. Raises BadFrame."""
        self._engine += chunk
        while len(self._engine) >= _ENGINE_HEAD.size:
            source, length = _ENGINE_HEAD.unpack_from(self._engine)
            end = _ENGINE_HEAD.size + length
            if len(self._engine) < end:
                break
            target = self._inner if source == _STDOUT else self.errors
            target += self._engine[_ENGINE_HEAD.size : end]
            del self._engine[:end]
        del self.errors[:-_LAST_WORDS]
        return self._frames()

    def _frames(self) -> list[Frame]:
        found = []
        start = 0
        while len(self._inner) >= start + _HEAD.size:
            number, letter, length = _HEAD.unpack_from(self._inner, start)
            kind = _KINDS.get(letter)
            if kind is None or length > LARGEST_FRAME:
                raise BadFrame(f"{letter!r}, {length} bytes")
            end = start + _HEAD.size + length
            if len(self._inner) < end:
                break
            found.append(Frame(number, kind, bytes(self._inner[start + _HEAD.size : end])))
            start = end
        del self._inner[:start]
        return found
