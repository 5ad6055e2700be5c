"""Databases to measure in, on an embedded Postgres of the bench's own or on the server of a URL."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from mobvibe_worker.store.connection.pool import connect


@asynccontextmanager
async def bench_server(url: str | None) -> AsyncIterator[str]:
    """The address of a server, which is `url` or an embedded one in a temporary home with its usual settings.

    Raises ServiceError if it cannot start.
    """
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="mobvibe-bench-") as folder:
        home = Home(Path(folder))
        async with await Supervisor.connect(home) as supervisor:
            try:
                address = await EmbeddedPostgres(home, supervisor).start(lambda status: None)
                yield address.dsn
            finally:
                await supervisor.shutdown()


@asynccontextmanager
async def bench_database(server: str) -> AsyncIterator[str]:
    """Create an empty database, which is dropped at the end; yields its address. Raises DatabaseUnreachable, Denied."""
    name = f"mobvibe_bench_{uuid4().hex[:12]}"
    await run_sql(server, f"create database {name}")
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        await run_sql(server, f"drop database {name} with (force)")


async def run_sql(dsn: str, *statements: str) -> None:
    """Run statements one by one on a separate connection, each in its own transaction."""
    connection = await connect(dsn, application_name="mobvibe-bench")
    try:
        for statement in statements:
            await connection.execute(statement, timeout=1800)
    finally:
        await connection.close()
