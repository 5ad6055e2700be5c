"""The real queue and its plain model agree after each of many random steps."""

from __future__ import annotations

import pytest

from support.queue.histories import check_against_the_model

EXAMPLES, STEPS = 40, 50


@pytest.mark.timeout(700)  # Shrinking a failure takes up to five minutes.
def test_the_queue_agrees_with_its_model(database_url: str) -> None:
    check_against_the_model(database_url, examples=EXAMPLES, steps=STEPS)
