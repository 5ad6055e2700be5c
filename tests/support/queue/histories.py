"""Runs random sequences of steps on the real queue and on its plain model."""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mobvibe_worker.store.connection.pool import open_pool
from support.queue.machine import QueueMachine


def check_against_the_model(database_url: str, *, examples: int, steps: int) -> None:
    """Run `examples` sequences of up to `steps` steps, each on an empty queue."""
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(open_pool(database_url, size=2))
    try:
        run_state_machine_as_test(
            partial(QueueMachine, loop, pool),  # type: ignore[arg-type]  # any factory will do
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(pool.close())
        loop.close()
