"""One person's read-only view of the database, under their row-level security."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncpg import Pool, Record
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:
    from mobvibe_worker.jobs import UserId


ROLE = "authenticated"
_BECOME = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)"


@dataclass(frozen=True, slots=True)
class Person:
    """The person whose view it is."""

    id: UserId
    email: str


class UserView:
    """Replaces a pool: `acquire` returns a connection with the person's role in a read-only transaction.

    Role and claims are local to the transaction, so nothing of them stays on a connection of the pool.
    """

    def __init__(self, pool: Pool, person: Person) -> None:
        self._pool = pool
        self.person = person

    @asynccontextmanager
    async def acquire(
        self, *, timeout: float | None = None
    ) -> AsyncIterator[PoolConnectionProxy[Record]]:
        """A connection that sees what the person's own client would see."""
        claims = {"sub": str(self.person.id), "role": ROLE, "email": self.person.email}
        async with (
            self._pool.acquire(timeout=timeout) as connection,
            connection.transaction(readonly=True),
        ):
            await connection.execute(_BECOME, ROLE, json.dumps(claims))
            yield connection
