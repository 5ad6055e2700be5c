"""Streams the model's thinking and text as events: about ten a second, in whole words, with secrets masked."""

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

    Text is held back until it is known whether the turn is the last one. Text of the last turn becomes the
    agent's message; text of any other turn is streamed as thinking.
    """

    def __init__(
        self, emit: Emit, redact: Redactor, name: str, period: float = PERIOD_SECONDS
    ) -> None:
        self._emit = emit
        self._redact = redact
        self._name = name
        self._period = period
        self._block = 0
        self._thinking = ""
        self._text = ""
        self._emitted_at = monotonic()

    def take(self, step: TurnStep) -> None:
        match step:
            case ThinkingDelta(text):
                self._thinking += text
                self._stream()
            case TextDelta(text):
                self._text += text
            case ToolStarted():
                self.emit_text_as_thinking()
            case BlockEnded():
                self._end_block()
                self._text += "\n\n" if self._text else ""
            case Turn():
                self._end_block()

    def emit_text_as_thinking(self) -> None:
        """Emit the held text: the turn turned out not to be the last one."""
        self._end_block()
        self._thinking, self._text = self._text.rstrip(), ""
        self._end_block()

    def _stream(self) -> None:
        now = monotonic()
        if now - self._emitted_at < self._period:
            return
        text = self._redact(clean_text(self._thinking))
        cut = self._emittable_length(text)
        if cut > 0:
            self._emit_thinking(text[:cut])
            self._thinking = text[cut:]
            self._emitted_at = now

    def _emittable_length(self, text: str) -> int:
        """How many characters can be emitted; an end that may be the start of a secret is held back."""
        safe = max(0, len(text) - max(0, self._redact.longest - 1))
        paragraph = text.rfind("\n\n", 0, safe)
        if paragraph > 0:
            return paragraph + 2
        word = max(text.rfind(" ", 0, safe), text.rfind("\n", 0, safe))
        return word + 1 if word >= 0 else (safe if safe > _LONGEST_WORD else 0)

    def _end_block(self) -> None:
        text = self._redact(clean_text(self._thinking))
        self._thinking = ""
        if text.strip():
            self._emit_thinking(text)
        self._block += 1

    def _emit_thinking(self, text: str) -> None:
        self._emit(Thinking(text, block=f"{self._name}.{self._block}"))
