"""Random steps on the real queue and on a plain model of it: both agree after each one."""

from __future__ import annotations

import pytest

from support.queue.histories import check_against_the_model

EXAMPLES, STEPS = 40, 50


@pytest.mark.timeout(700)  # a failure is shrunk for up to five minutes
def test_the_queue_does_what_its_model_does(database_url: str) -> None:
    check_against_the_model(database_url, examples=EXAMPLES, steps=STEPS)
