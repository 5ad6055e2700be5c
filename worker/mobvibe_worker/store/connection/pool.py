"""Opens connections to Postgres and checks their health."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from mobvibe_worker.store.connection.failures import translated, unreachable
from mobvibe_worker.store.connection.query_log import SLOW_SECONDS, QueryLog

MOST_CONNECTIONS = 20
CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 60.0
HEALTH_SECONDS = 5.0
SUPABASE_TRANSACTION_PORT = 6543
_STATEMENTS_KEPT = 100
_JSONB_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Health:
    """The time of one round trip, and the pool's connections at that moment."""

    milliseconds: float
    server_version: str
    connections: int
    idle: int
    most: int


class _Lent(asyncpg.Connection):
    """A pooled connection. Unlike asyncpg's own, its reset also restores the role."""

    __slots__ = ("_is_as_found",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_as_found = False

    def leave_as_found(self) -> None:
        """Declare that the session is unchanged, which saves the round trip of the next reset."""
        self._is_as_found = True

    def get_reset_query(self) -> str:
        """Called by asyncpg each time the connection is released."""
        if self._is_as_found:
            self._is_as_found = False
            return ""
        return f"{super().get_reset_query()}\nRESET SESSION AUTHORIZATION;\nRESET ROLE;"


async def open_pool(
    dsn: str,
    *,
    size: int = MOST_CONNECTIONS,
    application_name: str = "mobvibe",
    slow_seconds: float = SLOW_SECONDS,
    command_seconds: float = COMMAND_SECONDS,
) -> asyncpg.Pool:
    """Open a pool of up to `size` connections. Raises DatabaseUnreachable, with the reason and no secret."""
    keep_asyncpg_quiet()
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            connection_class=_Lent,
            init=partial(_prepare, query_log=QueryLog(slow_seconds)),
            timeout=CONNECT_SECONDS,
            command_timeout=command_seconds,
            statement_cache_size=_statements_kept(dsn),
            server_settings={"application_name": application_name},
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The cause would contain the URL with its password.
        raise unreachable(dsn, error) from None


async def connect(dsn: str, *, application_name: str = "mobvibe") -> asyncpg.Connection:
    """Open one connection without a pool. Raises DatabaseUnreachable."""
    keep_asyncpg_quiet()
    try:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            statement_cache_size=_statements_kept(dsn),
            server_settings={"application_name": application_name},
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unreachable(dsn, error) from None


async def check_health(pool: asyncpg.Pool) -> Health:
    """Make one round trip to the server. Raises DatabaseUnreachable after `HEALTH_SECONDS`."""
    started = time.monotonic()
    with translated():
        async with pool.acquire(timeout=HEALTH_SECONDS) as connection:
            version = await connection.fetchval(
                "select current_setting('server_version')", timeout=HEALTH_SECONDS
            )
    return Health(
        milliseconds=(time.monotonic() - started) * 1000,
        server_version=version,
        connections=pool.get_size(),
        idle=pool.get_idle_size(),
        most=pool.get_max_size(),
    )


async def _prepare(connection: asyncpg.Connection, *, query_log: QueryLog) -> None:
    await set_codecs(connection)
    connection.add_query_logger(query_log)


def is_transaction_pooler(dsn: str) -> bool:
    """Whether the address is a transaction pooler's: Supabase's port (6543) or Neon's host name (`-pooler.`).

    There each statement may run on another connection: no prepared statements, no LISTEN, no session locks.
    """
    try:
        parts = urlsplit(dsn)
        return parts.port == SUPABASE_TRANSACTION_PORT or "-pooler." in (parts.hostname or "")
    except ValueError:
        return False


def _statements_kept(dsn: str) -> int:
    return 0 if is_transaction_pooler(dsn) else _STATEMENTS_KEPT


async def set_codecs(connection: asyncpg.Connection) -> None:
    """Convert jsonb to and from Python values; in binary form, so that COPY works too."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_encode, decoder=_decode
    )


def keep_asyncpg_quiet() -> None:
    """Keep Python from printing asyncpg's warnings to the terminal, as it does without a handler."""
    logger = logging.getLogger("asyncpg")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _encode(value: Any) -> bytes:
    return _JSONB_VERSION + json.dumps(value).encode()


def _decode(data: bytes) -> Any:
    return json.loads(data[1:])
