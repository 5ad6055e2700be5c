"""Logs statements and their duration, never their values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg.connection import LoggedQuery

log = logging.getLogger(__name__)

SLOW_SECONDS = 0.25
LONGEST_STATEMENT = 400
LARGEST_FILE = 1_000_000
_HOUSEKEEPING = "pg_advisory_unlock_all"


class QueryLog:
    """Logs statements as DEBUG, failed ones as INFO, and those slower than `slow_seconds` as WARNING.

    Arguments are described by type and size: prompts, files and claims never reach a log.
    """

    def __init__(self, slow_seconds: float = SLOW_SECONDS) -> None:
        self._slow_seconds = slow_seconds

    def __call__(self, query: LoggedQuery) -> None:
        level = self._level(query)
        if _HOUSEKEEPING in query.query or not log.isEnabledFor(level):
            return
        failure = f", {type(query.exception).__name__}" if query.exception else ""
        log.log(
            level,
            "%s%.1f ms%s: %s (%s)",
            "slow: " if level == logging.WARNING else "",
            query.elapsed * 1000,
            failure,
            " ".join(query.query.split())[:LONGEST_STATEMENT],
            described(query.args),
        )

    def _level(self, query: LoggedQuery) -> int:
        if query.elapsed >= self._slow_seconds:
            return logging.WARNING
        return logging.INFO if query.exception else logging.DEBUG


def write_to(path: Path) -> logging.Handler:
    """Also log slow statements to a file, as a screen has no stderr. It is rotated once at `LARGEST_FILE` bytes."""
    handler = RotatingFileHandler(
        path, maxBytes=LARGEST_FILE, backupCount=1, encoding="utf-8", delay=True
    )
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    return handler


def described(arguments: Sequence[object] | None) -> str:
    """Types and sizes instead of values."""
    return ", ".join(
        f"${number} {_kind(value)}" for number, value in enumerate(arguments or (), start=1)
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    size = f"({len(value)})" if isinstance(value, str | bytes | list | tuple | dict) else ""
    return f"{type(value).__name__}{size}"
