"""Stores how an attempt ended: repeated while the database is away, and not given up when the attempt is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mobvibe_worker.errors import DatabaseUnreachable, LeaseLost
from mobvibe_worker.jobs import Attempt

T = TypeVar("T")
log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
STOPPED_SECONDS = 5.0
"""How long a stop waits for a write under way: given up, work that is paid for would be done again."""


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a fenced write while the database is away: a repeated one is refused by its fence.

    Stopped meanwhile, it still answers where the write is done within `STOPPED_SECONDS`; else CancelledError.
    """
    while True:
        try:
            return await _undisturbed(call)
        except DatabaseUnreachable as away:
            log.warning("waiting for the database: %s", away)
            await asyncio.sleep(RETRY_SECONDS)


async def until_stored(call: Callable[[], Awaitable[None]], attempt: Attempt) -> None:
    """The same, where a lost lease only means that another attempt says how the job ended."""
    try:
        await until_answered(call)
    except LeaseLost as lost:
        log.warning("job %s attempt %s: %s", attempt.job_id, attempt.number, lost)


async def _undisturbed(call: Callable[[], Awaitable[T]]) -> T:
    writing = asyncio.ensure_future(call())
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing}, timeout=STOPPED_SECONDS)
        writing.cancel()
        (answer,) = await asyncio.gather(writing, return_exceptions=True)
        if isinstance(answer, BaseException):
            raise
        return answer
