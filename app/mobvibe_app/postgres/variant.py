"""What both ways to run Postgres offer and share: the server's user, its address, its password."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mobvibe_app.status import OnStatus, ServiceName

NAME: ServiceName = "postgres"
USER = "mobvibe"
DATABASE = "mobvibe"
HOST = "127.0.0.1"
FIRST_PORT = 15432


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where the server is. `dsn` is a URL with the password, `version` is like `18.6`."""

    dsn: str = field(repr=False)
    port: int
    version: str

    @classmethod
    def of(cls, password: str, port: int, version: str) -> PostgresAddress:
        return cls(f"postgresql://{USER}:{password}@{HOST}:{port}/{DATABASE}", port, version)


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


def create_password(path: Path) -> None:
    """Generate a password into a private file, unless it exists."""
    if path.exists():
        return
    # Renamed when complete, because a server never starts with an empty file that a full disk left.
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secrets.token_urlsafe(32)}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
