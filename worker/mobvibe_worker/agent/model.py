"""The interface of a model: it streams one turn at a time and knows its price."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from mobvibe_worker.errors import ModelUnavailable

Block = dict[str, Any]
"""One content block of the Messages API: text, thinking, tool_use, tool_result."""

OUTPUT_LIMIT = 32_000
"""The most tokens in one answer, including thinking."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool's description for the model. `input_schema` is JSON Schema with sorted keys."""

    name: str
    description: str
    input_schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one turn; `input_tokens` excludes cache reads and writes."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Written to the cache for five minutes."""
    cache_write_1h_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens

    def to_data(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class BlockEnded:
    """A block of thinking or text is complete."""


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
        """The answer's text blocks, joined; without thinking and tool calls."""
        parts = [str(block["text"]) for block in self.content if block.get("type") == "text"]
        return "\n\n".join(part.strip() for part in parts if part.strip())

    @property
    def tool_calls(self) -> tuple[Block, ...]:
        return tuple(block for block in self.content if block.get("type") == "tool_use")


TurnStep = ThinkingDelta | TextDelta | BlockEnded | ToolStarted | Turn


@dataclass(slots=True)
class Conversation:
    """What is sent: a constant head (system, tools) and messages that are only ever appended."""

    system: str
    tools: tuple[ToolSpec, ...]
    messages: list[dict[str, Any]] = field(default_factory=list)
    output_limit: int = OUTPUT_LIMIT
    measured_tokens: int = 0
    """Tokens of the first `measured_messages` messages and the head, as the server counted them."""
    measured_messages: int = 0

    def add(self, role: str, content: list[Block]) -> None:
        self.messages.append({"role": role, "content": content})

    def measure(self, usage: Usage) -> None:
        """Store the server's token count of everything up to and including the answer just appended."""
        self.measured_tokens = usage.total_tokens
        self.measured_messages = len(self.messages)


class Model(Protocol):
    """Answers turns. `turn` streams deltas and yields exactly one Turn, last."""

    @property
    def name(self) -> str:
        """The model's id, as it is stored and shown."""

    def turn(self, conversation: Conversation) -> AsyncGenerator[TurnStep, None]:
        """Stream one answer. Raises BrokenTurn if another try may help, otherwise an AgentError."""

    def price_of(self, usage: Usage) -> Decimal | None:
        """US dollars, exact; None if the price is unknown."""

    def worst_case(self, conversation: Conversation) -> Decimal | None:
        """The most that the answer can cost, US dollars; None if the price is unknown."""


class BrokenTurn(ModelUnavailable):
    """The model's answer broke off; none of it was carried out.

    `has_begun` means that the server began to answer, and bills it; `retry_after` is in seconds.
    """

    def __init__(
        self, message: str, *, has_begun: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.has_begun = has_begun
        self.retry_after = retry_after
