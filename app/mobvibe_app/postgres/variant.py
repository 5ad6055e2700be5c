"""What every way to run Postgres offers: embedded, in a container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from mobvibe_app.status import OnStatus

FIRST_PORT = 15432


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where the server is: a URL with the password in it, its port, its version (`18.6`)."""

    dsn: str = field(repr=False)
    port: int
    version: str


class PostgresVariant(Protocol):
    """The Postgres of one home, run in one way."""

    mode: Literal["docker", "embedded"]

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        """The address of the server, which is made and started where it does not run yet. Raises ServiceError."""
        ...

    async def stop(self, *, quietly: bool = False) -> None:
        """Stop the server for all clients of the home; every committed row stays.

        `quietly` tells nobody, as it is started again at once.
        """
        ...

    async def rebuild(self, on_status: OnStatus) -> None:
        """Stop the server and make anew what it runs in; its rows stay. Raises ServiceError, InputError."""
        ...

    async def reset(self) -> tuple[str, ...]:
        """Delete the stopped server with all its rows; what was deleted, in words. Raises ServiceError."""
        ...
