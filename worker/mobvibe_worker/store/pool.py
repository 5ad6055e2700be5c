"""Opens the pool of connections to Postgres."""

from __future__ import annotations

import json
import logging
from typing import Any

import asyncpg

from mobvibe_worker.store.failures import unreachable

CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 60.0
_JSONB_VERSION = b"\x01"


async def open_pool(dsn: str, *, size: int = 8, application_name: str = "mobvibe") -> asyncpg.Pool:
    """A pool of up to `size` connections. Raises DatabaseUnreachable, which says why and holds no secret."""
    keep_asyncpg_quiet()
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            init=set_codecs,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": application_name},
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The cause would carry the URL, and with it the password.
        raise unreachable(dsn, error) from None


async def connect(dsn: str, *, application_name: str = "mobvibe") -> asyncpg.Connection:
    """One connection outside of any pool. Raises DatabaseUnreachable."""
    keep_asyncpg_quiet()
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_SECONDS, server_settings={"application_name": application_name}
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unreachable(dsn, error) from None


async def set_codecs(connection: asyncpg.Connection) -> None:
    """Let jsonb columns be Python values; binary, so that COPY works too."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_encode, decoder=_decode
    )


def keep_asyncpg_quiet() -> None:
    """Without a handler, Python prints asyncpg's warnings into the terminal."""
    logger = logging.getLogger("asyncpg")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _encode(value: Any) -> bytes:
    return _JSONB_VERSION + json.dumps(value).encode()


def _decode(data: bytes) -> Any:
    return json.loads(data[1:])
