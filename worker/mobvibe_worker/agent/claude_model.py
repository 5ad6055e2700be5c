"""Calls Claude, or any server with the Messages API, through the `anthropic` package."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from mobvibe_worker.agent.model import (
    Block,
    BlockEnded,
    Conversation,
    TextDelta,
    ThinkingDelta,
    ToolSpec,
    ToolStarted,
    Turn,
    TurnStep,
    Usage,
)
from mobvibe_worker.agent.prices import PriceTable, load_prices
from mobvibe_worker.errors import ModelRejected

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Profile = Literal["claude", "local"]

HOME_URL = "https://api.anthropic.com"
LOCAL_OUTPUT_LIMIT = 16_000
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0
TURN_SECONDS = 900.0


class ClaudeModel:
    """Streams turns. The environment is not read; key and address are arguments.

    Profile "local" omits the fields that other servers do not know (thinking, effort, caching). With None they
    are sent, and omitted from then on if a server other than Claude's own rejects them.
    Raises ModelRejected if neither a key nor a base URL is given.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        model: str = "claude-sonnet-5-5",
        effort: Effort = "medium",
        profile: Profile | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        if not api_key and not base_url:
            raise ModelRejected("There is no key for the model.", "Set ANTHROPIC_API_KEY.")
        self._model = model
        self._effort = effort
        self._base_url = base_url or HOME_URL
        self._may_go_local = profile is None and self._base_url.rstrip("/") != HOME_URL
        self._is_local = profile == "local"
        self._prices = prices or load_prices()
        self._client = _open_client(api_key or "local", self._base_url)

    @property
    def name(self) -> str:
        return self._model

    async def turn(self, conversation: Conversation) -> AsyncGenerator[TurnStep, None]:
        """Stream one answer. Raises BrokenTurn, ModelRejected."""
        from mobvibe_worker.agent.claude_failures import (
            STREAM_FAILURES,
            failure_of,
            may_reject_extras,
        )

        has_begun = False
        try:
            async with self._client.messages.stream(**self._request(conversation)) as stream:
                async for event in stream:
                    has_begun = True
                    if (step := _step_of(event)) is not None:
                        yield step
                message = await stream.get_final_message()
            yield _turn_of(message)
            return
        except STREAM_FAILURES as error:
            if has_begun or not (self._may_go_local and may_reject_extras(error)):
                raise failure_of(error, has_begun=has_begun, model=self._model) from error
        self._may_go_local, self._is_local = False, True
        async with aclosing(self.turn(conversation)) as steps:
            async for step in steps:
                yield step

    def price_of(self, usage: Usage) -> Decimal | None:
        return self._prices.cost(self._model, usage)

    def worst_case(self, conversation: Conversation) -> Decimal | None:
        return self._prices.worst_case(self._model, conversation)

    async def close(self) -> None:
        await self._client.close()

    def _request(self, conversation: Conversation) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._model,
            "max_tokens": conversation.output_limit,
            "system": conversation.system,
            "tools": [_tool_param(tool) for tool in conversation.tools],
            "messages": conversation.messages,
        }
        if self._is_local:
            return {**request, "max_tokens": min(conversation.output_limit, LOCAL_OUTPUT_LIMIT)}
        lasting = {"type": "ephemeral", "ttl": "1h"}
        return {
            **request,
            "system": [{"type": "text", "text": conversation.system, "cache_control": lasting}],
            "cache_control": {"type": "ephemeral"},
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": self._effort},
        }


def _open_client(api_key: str, base_url: str) -> AsyncAnthropic:
    import httpx2
    from anthropic import AsyncAnthropic

    timeout = httpx2.Timeout(TURN_SECONDS, connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
    # No retries in the SDK: the loop repeats broken turns itself, so that it reserves the cost of every request.
    return AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        timeout=timeout,
        max_retries=0,
        open_telemetry=False,
    )


def _tool_param(tool: ToolSpec) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
    }


def _step_of(event: Any) -> TurnStep | None:
    """Our step for one of the SDK's events; None for events that carry nothing new."""
    match event.type:
        case "thinking":
            return ThinkingDelta(event.thinking)
        case "text":
            return TextDelta(event.text)
        case "content_block_start" if event.content_block.type == "tool_use":
            return ToolStarted(event.content_block.name)
        case "content_block_stop" if event.content_block.type in {"thinking", "text"}:
            return BlockEnded()
        case _:
            return None


def _turn_of(message: Any) -> Turn:
    detail = message.stop_details.explanation if message.stop_details else None
    return Turn(
        content=tuple(_block_of(block) for block in message.content),
        stop_reason=message.stop_reason,
        usage=_usage_of(message.usage),
        model=message.model,
        stop_detail=detail or "",
    )


def _block_of(block: Any) -> Block:
    """The block as it is sent back to the server, without the fields that the SDK added."""
    data: Block = block.to_dict(mode="json", warnings=False)
    return {name: v for name, v in data.items() if v is not None and name != "parsed_output"}


def _usage_of(usage: Any) -> Usage:
    written = usage.cache_creation_input_tokens or 0
    lasting = usage.cache_creation.ephemeral_1h_input_tokens if usage.cache_creation else 0
    return Usage(
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_tokens=max(written - lasting, 0),
        cache_write_1h_tokens=lasting,
    )
