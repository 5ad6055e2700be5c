"""Runs SQL with time limits and readable errors, and repeats it only if that is safe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from asyncpg import Pool, Record

from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.store.connection.failures import NOT_EXECUTED, is_lost, translated
from mobvibe_worker.store.connection.user_view import UserView

T = TypeVar("T")
Source: TypeAlias = Pool | UserView
"""Where statements run: with the program's own role, or under one person's row-level security."""

ACQUIRE_SECONDS = 10.0
PATIENCE_SECONDS = 4.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.25


async def repeatable(source: Source, sql: str, *arguments: Any) -> list[Record]:
    """Run a read or an idempotent write, and repeat it with growing pauses while the server is unreachable.

    Raises DatabaseUnreachable after `PATIENCE_SECONDS`, else the matching StoreError.
    """
    return await _with_patience(lambda: _fetch(source, sql, arguments), is_lost)


async def once(source: Source, sql: str, *arguments: Any) -> list[Record]:
    """Run a write that must not happen twice. It is repeated only if it certainly did not happen."""
    return await _with_patience(
        lambda: _fetch(source, sql, arguments), lambda error: isinstance(error, NOT_EXECUTED)
    )


async def _fetch(source: Source, sql: str, arguments: tuple[Any, ...]) -> list[Record]:
    # A time limit costs a task, so it is set only if there may be a wait.
    has_idle_one = isinstance(source, Pool) and source.get_idle_size() > 0
    async with source.acquire(timeout=None if has_idle_one else ACQUIRE_SECONDS) as connection:
        rows: list[Record] = await connection.fetch(sql, *arguments)
        # The store's statements change no setting beyond their transaction, so the reset can be skipped. After a
        # failure the connection may be in any state, and the reset runs.
        if leave_as_found := getattr(connection, "leave_as_found", None):
            leave_as_found()
        return rows


async def _with_patience(
    call: Callable[[], Awaitable[T]], is_worth_repeating: Callable[[BaseException], bool]
) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = _FIRST_PAUSE
    while True:
        try:
            with translated():
                return await call()
        except MobvibeError as error:
            cause = error.__cause__
            if cause is None or not is_worth_repeating(cause):
                raise
            if time.monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause * random.uniform(0.75, 1.25))
        pause = min(pause * 2, _LONGEST_PAUSE)
