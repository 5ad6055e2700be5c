"""The exact cost of a turn, and its upper limit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mobvibe_worker.agent.limits import Limits, Meter
from mobvibe_worker.agent.model import Conversation, Usage
from mobvibe_worker.agent.prices import load_prices

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("claude-sonnet-5-5", Usage(MILLION, MILLION, MILLION, MILLION, MILLION), "18.60"),
        ("claude-opus-5-5", Usage(12_345, 6_789, 50_000, 1_000, 2_000), "0.21616"),
        ("claude-sonnet-5-5-20261001", Usage(0, 1), "0.00001"),
        ("claude-haiku-5-5", Usage(1_000, 10_000, 99_000), "0.00609"),
        ("claude-haiku-5-5", Usage(1_001, 10_000, 99_000), "0.0304505"),
        ("a-model-of-ones-own", Usage(MILLION, MILLION), None),
    ],
)
def test_cost_is_exact_and_unknown_is_not_free(model: str, usage: Usage, usd: str | None) -> None:
    assert load_prices().cost(model, usage) == (None if usd is None else Decimal(usd))


def test_the_estimated_worst_case_is_never_below_the_actual_cost() -> None:
    prices = load_prices()
    conversation = Conversation("s" * 4_000, ())
    conversation.add("user", [{"type": "text", "text": "ä" * 1_000}])
    first = prices.worst_case("claude-sonnet-5-5", conversation)
    spent = prices.cost("claude-sonnet-5-5", Usage(0, 32_000, 0, 3_000, 3_000))
    assert first is not None and spent is not None and first >= spent
    usage = Usage(500, 1_000, 100_000)
    conversation.add("assistant", [{"type": "text", "text": "x" * 90_000}])
    conversation.measure(usage)
    conversation.add("user", [{"type": "text", "text": "y" * 10_000}])
    second = prices.worst_case("claude-sonnet-5-5", conversation)
    assert second is not None
    assert Decimal("0.320") + Decimal("4") * 111_500 / MILLION < second < Decimal("0.77")
    assert prices.worst_case("unknown", conversation) is None


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    meter = Meter(Limits())
    meter.add(Usage(1, 2), Decimal("0.5"))
    meter.add(Usage(3, 4), Decimal("0.25"))
    assert (meter.tokens, meter.cost_usd) == (10, Decimal("0.75"))
    meter.add(Usage(), None)
    meter.add(Usage(), Decimal(1))
    assert meter.cost_usd is None
