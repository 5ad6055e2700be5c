"""What a command prints, however much that is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Capture:
    """The first and the last half of `limit` bytes; what lies between is only counted."""

    limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def add(self, chunk: bytes) -> None:
        """Take in what came next."""
        room = max(0, self.limit // 2 - len(self.head))
        self.head += chunk[:room]
        self.tail += chunk[room:]
        excess = max(0, len(self.tail) - (self.limit - self.limit // 2))
        del self.tail[:excess]
        self.dropped += excess

    def text(self) -> str:
        """What was kept, with a line in the place of what was not."""
        gap = f"\n[{self.dropped} bytes cut]\n".encode() if self.dropped else b""
        return bytes(self.head + gap + self.tail).decode(errors="replace")
