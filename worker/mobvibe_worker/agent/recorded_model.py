"""Replays a recording as a model: no key and no cost, but the same loop, tools and checks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal

from mobvibe_worker.agent.model import (
    Block,
    BlockEnded,
    Conversation,
    TextDelta,
    ThinkingDelta,
    ToolStarted,
    TurnStep,
    Usage,
)
from mobvibe_worker.agent.recordings import Recording
from mobvibe_worker.errors import AgentError

PIECE = 24
"""Characters of one delta."""
PROSE_RATE = 240.0
"""Characters a second of thinking and text, at pace 1."""
CODE_RATE = 2_400.0
"""Characters a second of a tool call's input, at pace 1."""
FIRST_DELAY_SECONDS = 0.4


class RecordedModel:
    """Answers with a recording's turns in order. `pace` 1 streams as fast as a real model, 0 without delay."""

    def __init__(self, recording: Recording, pace: float = 1.0) -> None:
        self.recording = recording
        self._pace = max(pace, 0.0)
        self._played = 0

    @property
    def name(self) -> str:
        return f"recording:{self.recording.name}"

    async def turn(self, conversation: Conversation) -> AsyncGenerator[TurnStep, None]:
        """Stream the next turn. Raises AgentError if the recording has ended."""
        if self._played >= len(self.recording.turns):
            raise AgentError(
                f"The recording {self.recording.name} has ended, but the checks still fail.",
                "It only fits the app that it was recorded with, so replay it in a new project.",
            )
        turn = self.recording.turns[self._played]
        self._played += 1
        await asyncio.sleep(FIRST_DELAY_SECONDS * self._pace)
        for block in turn.content:
            for step, seconds in _steps(block):
                yield step
                await asyncio.sleep(seconds * self._pace)
        yield turn

    def price_of(self, usage: Usage) -> Decimal | None:
        return Decimal(0)

    def worst_case(self, conversation: Conversation) -> Decimal | None:
        return Decimal(0)


def _steps(block: Block) -> Iterator[tuple[TurnStep, float]]:
    """The block's deltas, each with its duration in seconds at pace 1."""
    match block["type"]:
        case "thinking":
            yield from ((ThinkingDelta(p), len(p) / PROSE_RATE) for p in _cut(block["thinking"]))
            yield BlockEnded(), 0.0
        case "text":
            yield from ((TextDelta(p), len(p) / PROSE_RATE) for p in _cut(block["text"]))
            yield BlockEnded(), 0.0
        case _:
            seconds = len(json.dumps(block.get("input"))) / CODE_RATE
            yield ToolStarted(str(block.get("name"))), seconds


def _cut(text: str) -> Iterator[str]:
    yield from (text[start : start + PIECE] for start in range(0, len(text), PIECE))
