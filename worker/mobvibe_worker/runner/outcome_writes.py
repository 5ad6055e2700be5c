"""Repeats the write that ends an attempt while the database is away, and finishes it when the attempt is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mobvibe_worker.errors import DatabaseUnreachable

T = TypeVar("T")
log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
STOPPED_SECONDS = 5.0
"""How long a stop waits for a write under way. Without it, work that is paid for would be done again."""


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a fenced write while the database is away.

    If the caller is stopped meanwhile, it still gets the answer of a write that ends within `STOPPED_SECONDS`, and
    CancelledError otherwise.
    """
    while True:
        try:
            return await _undisturbed(call)
        except DatabaseUnreachable as away:
            log.warning("waiting for the database: %s", away)
            await asyncio.sleep(RETRY_SECONDS)


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
