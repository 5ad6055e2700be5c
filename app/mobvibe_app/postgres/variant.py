"""What both ways to run Postgres offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mobvibe_app.status import OnStatus

FIRST_PORT = 15432


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where the server is. `dsn` is a URL with the password, `version` is like `18.6`."""

    dsn: str = field(repr=False)
    port: int
    version: str


class PostgresVariant(Protocol):
    """The Postgres of one home, run in one way."""

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        """The address of the server, which is created and started if it does not run yet. Raises ServiceError."""
        ...

    async def stop(self, *, quietly: bool = False) -> None:
        """Stop the server for all clients of the home. Every committed row stays.

        `quietly` does not report its end, because it is started again at once.
        """
        ...

    async def rebuild(self, on_status: OnStatus) -> None:
        """Stop the server and rebuild what it runs in. Its rows stay. Raises ServiceError, InputError."""
        ...

    async def reset(self) -> tuple[str, ...]:
        """Delete the stopped server with all its rows; returns what was deleted, in words. Raises ServiceError."""
        ...
