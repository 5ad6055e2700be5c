"""The exact cost of a turn, from the dated table in prices.toml."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

from mobvibe_worker.agent.model import Conversation, Usage

_MILLION = Decimal(1_000_000)
_DATED = re.compile(r"-\d{8}$")


@dataclass(frozen=True, slots=True)
class PriceStep:
    """US dollars per million tokens, for prompts of up to `up_to_prompt_tokens` (None means any size)."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    up_to_prompt_tokens: int | None = None

    def cost(self, usage: Usage) -> Decimal:
        return (
            self.input * usage.input_tokens
            + self.output * usage.output_tokens
            + self.cache_read * usage.cache_read_tokens
            + self.cache_write * usage.cache_write_tokens
            + self.cache_write_1h * usage.cache_write_1h_tokens
        ) / _MILLION


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model, as of one day."""

    as_of: date
    steps: dict[str, tuple[PriceStep, ...]]

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars, exact; None if the model is not in the table."""
        step = self._step(model, usage.prompt_tokens)
        return None if step is None else step.cost(usage)

    def worst_case(self, model: str, conversation: Conversation) -> Decimal | None:
        """The most that one answer can cost, US dollars; None if the model is not in the table.

        Tokens that may not be cached are priced at the highest input price.
        """
        known, new = conversation.measured_tokens, _unmeasured_bytes(conversation)
        step = self._step(model, known + new)
        if step is None:
            return None
        highest = max(step.input, step.cache_write, step.cache_write_1h)
        return (highest * (known + new) + step.output * conversation.output_limit) / _MILLION

    def _step(self, model: str, prompt_tokens: int) -> PriceStep | None:
        for step in self.steps.get(_DATED.sub("", model), ()):
            if step.up_to_prompt_tokens is None or prompt_tokens <= step.up_to_prompt_tokens:
                return step
        return None


def _unmeasured_bytes(conversation: Conversation) -> int:
    """Bytes that the server has not counted yet: an upper bound in tokens, as a token is at least one byte."""
    new: list[Any] = list(conversation.messages[conversation.measured_messages :])
    if conversation.measured_messages == 0:
        new += [conversation.system, [tool.input_schema for tool in conversation.tools]]
        new += [tool.description for tool in conversation.tools]
    return len(json.dumps(new, ensure_ascii=False).encode("utf-8", "replace"))


def load_prices() -> PriceTable:
    text = files("mobvibe_worker.agent").joinpath("prices.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return PriceTable(
        as_of=table["as_of"],
        steps={
            model["name"]: tuple(_parse_step(step) for step in model["steps"])
            for model in table["models"]
        },
    )


def _parse_step(step: dict[str, Any]) -> PriceStep:
    prices = {name: Decimal(value) for name, value in step.items() if isinstance(value, str)}
    return PriceStep(**prices, up_to_prompt_tokens=step.get("up_to_prompt_tokens"))
