"""What the loop asks of a model: one turn at a time, streamed, with its price."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from mobvibe_worker.errors import ModelUnavailable

Block = dict[str, Any]
"""One content block of the Messages API: text, thinking, tool_use, tool_result."""

OUTPUT_LIMIT = 32_000
"""The most that one turn may say, tokens; what the model thinks counts too."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model is told of it. `input_schema` is JSON Schema with sorted keys."""

    name: str
    description: str
    input_schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one turn; `input_tokens` leaves out what came from or went to the cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Written for five minutes."""
    cache_write_1h_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Everything that was sent."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
        )

    @property
    def total_tokens(self) -> int:
        """Everything that was sent and said."""
        return self.prompt_tokens + self.output_tokens

    def to_data(self) -> dict[str, int]:
        """The counts as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of a thought."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of what is said."""

    text: str


@dataclass(frozen=True, slots=True)
class BlockEnded:
    """A thought or a text is complete."""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The model began to write a tool call."""

    tool: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One complete answer of the model. `stop_detail` explains a refusal."""

    content: tuple[Block, ...]
    stop_reason: str | None
    usage: Usage
    model: str
    stop_detail: str = ""

    @property
    def text(self) -> str:
        """Everything that was said, without thoughts and tool calls."""
        parts = [str(block["text"]) for block in self.content if block.get("type") == "text"]
        return "\n\n".join(part.strip() for part in parts if part.strip())

    @property
    def tool_calls(self) -> tuple[Block, ...]:
        """The tool calls, in order."""
        return tuple(block for block in self.content if block.get("type") == "tool_use")


TurnStep = ThinkingDelta | TextDelta | BlockEnded | ToolStarted | Turn


@dataclass(slots=True)
class Conversation:
    """What is sent: an unchanging head (system, tools) and messages that only ever grow."""

    system: str
    tools: tuple[ToolSpec, ...]
    messages: list[dict[str, Any]] = field(default_factory=list)
    output_limit: int = OUTPUT_LIMIT
    measured_tokens: int = 0
    """Tokens of the first `measured_messages` messages and the head, as the server counted them."""
    measured_messages: int = 0

    def add(self, role: str, content: list[Block]) -> None:
        """Append one message."""
        self.messages.append({"role": role, "content": content})

    def measure(self, usage: Usage) -> None:
        """Remember the server's count of everything up to and with the answer just appended."""
        self.measured_tokens = usage.total_tokens
        self.measured_messages = len(self.messages)


class Model(Protocol):
    """Something that answers turns. `turn` streams deltas and yields exactly one Turn, last."""

    @property
    def name(self) -> str:
        """The model's id, as it is stored and shown."""

    def turn(self, conversation: Conversation) -> AsyncGenerator[TurnStep, None]:
        """Answer once. Raises BrokenTurn where another try may help, else an AgentError."""

    def price_of(self, usage: Usage) -> Decimal | None:
        """US dollars, exact; None where the price is not known."""

    def worst_case(self, conversation: Conversation) -> Decimal | None:
        """The most that answering this can cost, US dollars; None where the price is not known."""


class BrokenTurn(ModelUnavailable):
    """The model's answer broke off; nothing of it was carried out.

    `has_begun` tells that the server began to answer (and bills it); `retry_after` is what it asked for, seconds.
    """

    def __init__(
        self, message: str, *, has_begun: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.has_begun = has_begun
        self.retry_after = retry_after
