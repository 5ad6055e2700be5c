"""Keeps a command's output within a fixed size."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Capture:
    """The first and the last `limit / 2` bytes; bytes in between are dropped and counted."""

    limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def add(self, chunk: bytes) -> None:
        room = max(0, self.limit // 2 - len(self.head))
        self.head += chunk[:room]
        self.tail += chunk[room:]
        excess = max(0, len(self.tail) - (self.limit - self.limit // 2))
        del self.tail[:excess]
        self.dropped += excess

    def text(self) -> str:
        """The output, with a note in place of the dropped bytes."""
        gap = f"\n[{self.dropped} bytes cut]\n".encode() if self.dropped else b""
        return bytes(self.head + gap + self.tail).decode(errors="replace")
