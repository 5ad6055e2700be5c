"""The database of this run, for as long as a command needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from mobvibe_app.cli.output import Output
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_environment
from mobvibe_worker.store.schema.branches import Branches


@asynccontextmanager
async def open_database(
    settings: AppSettings, out: Output, branch: str | None = None
) -> AsyncIterator[str]:
    """The address (a secret) for what needs one connection for long: DIRECT_URL where it is set.

    With `branch` that branch's. Raises ServiceError, NotFound for a branch that is not there.
    """
    environment = build_environment(settings)
    try:
        dsn = settings.session_url(await environment.start(out.status))
        if branch is not None:
            branches = Branches(dsn)
            await branches.get(branch)
            dsn = branches.url(branch)
        yield dsn
    finally:
        await environment.close()


def place_of(dsn: str) -> str:
    """Which database that is, without its secrets."""
    parts = urlsplit(dsn)
    return f"{parts.path.lstrip('/')} at {parts.hostname or 'localhost'}:{parts.port or 5432}"
