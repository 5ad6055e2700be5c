"""Streams what the model thinks and says as events: about ten a second, whole words, and never a secret."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from mobvibe_worker.agent.model import (
    BlockEnded,
    TextDelta,
    ThinkingDelta,
    ToolStarted,
    Turn,
    TurnStep,
)
from mobvibe_worker.events import Payload, Thinking
from mobvibe_worker.sanitize import Redactor, clean_text

Emit = Callable[[Payload], None]
PERIOD_SECONDS = 0.1
_LONGEST_WORD = 2_000


class Narration:
    """Coalesces the deltas of one turn.

    What is said is held back until it is known whether the turn is the last one: then it becomes the
    agent's message, else it is part of the way there and streamed like a thought.
    """

    def __init__(
        self, emit: Emit, redact: Redactor, name: str, period: float = PERIOD_SECONDS
    ) -> None:
        self._emit = emit
        self._redact = redact
        self._name = name
        self._period = period
        self._block = 0
        self._held = ""
        self._said = ""
        self._emitted_at = monotonic()

    def take(self, step: TurnStep) -> None:
        """Take in one step of the stream."""
        match step:
            case ThinkingDelta(text):
                self._held += text
                self._stream()
            case TextDelta(text):
                self._said += text
            case ToolStarted():
                self.tell_said()
            case BlockEnded():
                self._end_block()
                self._said += "\n\n" if self._said else ""
            case Turn():
                self._end_block()

    def tell_said(self) -> None:
        """What was said turned out to be on the way: stream it."""
        self._end_block()
        self._held, self._said = self._said.rstrip(), ""
        self._end_block()

    def _stream(self) -> None:
        now = monotonic()
        if now - self._emitted_at < self._period:
            return
        text = self._redact(clean_text(self._held))
        cut = self._cut(text)
        if cut > 0:
            self._tell(text[:cut])
            self._held = text[cut:]
            self._emitted_at = now

    def _cut(self, text: str) -> int:
        """How much can be told: a secret that may still be arriving at the end stays back."""
        safe = max(0, len(text) - max(0, self._redact.longest - 1))
        paragraph = text.rfind("\n\n", 0, safe)
        if paragraph > 0:
            return paragraph + 2
        word = max(text.rfind(" ", 0, safe), text.rfind("\n", 0, safe))
        return word + 1 if word >= 0 else (safe if safe > _LONGEST_WORD else 0)

    def _end_block(self) -> None:
        text = self._redact(clean_text(self._held))
        self._held = ""
        if text.strip():
            self._tell(text)
        self._block += 1

    def _tell(self, text: str) -> None:
        self._emit(Thinking(text, block=f"{self._name}.{self._block}"))
