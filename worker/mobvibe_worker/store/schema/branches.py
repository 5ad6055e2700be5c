"""Copies a database on the same server, to try changes before they reach the real one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from asyncpg import exceptions as pg

from mobvibe_worker.errors import BranchRefused, InputError, MigrationRefused, NotFound
from mobvibe_worker.store.connection.failures import translated
from mobvibe_worker.store.connection.pool import connect, is_transaction_pooler

MARK = "mobvibe-branch of "
LONGEST_DATABASE = 63
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,29}")
_VERBS = frozenset({"list", "drop"})
_OTHERS = """
select coalesce(nullif(application_name, ''), usename) as name, count(*) as sessions
from pg_catalog.pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
  -- Only a superuser sees the type of another role's connection; the server's own processes have no user.
  and (backend_type = 'client backend' or (backend_type is null and usename is not null))
group by 1 order by 2 desc, 1 limit 5
"""


CopyInUse = Callable[[str, str], Awaitable[None]]
"""(source's address, empty target's address): copies a database that is in use. Raises BranchRefused."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A copy, with its name, its database and its size in bytes."""

    name: str
    database: str
    size: int


class Branches:
    """The branches of one database. A database without our mark is never touched.

    The server copies a database fast, but only if no one else is connected; otherwise `copy_in_use` copies it.
    """

    def __init__(self, dsn: str, copy_in_use: CopyInUse | None = None) -> None:
        self._dsn = dsn
        self._copy_in_use = copy_in_use
        self._source = database_of(dsn)

    def url(self, name: str) -> str:
        """The address of a branch (a secret). Raises InputError for a name that cannot be one."""
        return with_database(self._dsn, self._database(name))

    async def create(self, name: str) -> Branch:
        """Copy schema and data.

        Raises BranchRefused, which says who is connected or what the server forbids, and InputError for a wrong name.
        """
        database = self._database(name)
        async with self._connected() as connection:
            others = await connection.fetch(_OTHERS)
            if not others or self._copy_in_use is None:
                await _create(connection, database, self._source, template=self._source)
                return await self.get(name)
        await self.create_empty(name)
        is_whole = False
        try:
            await self._copy_in_use(self._dsn, self.url(name))
            is_whole = True
        finally:
            # Also if the person stopped it, because half a copy would look like a branch.
            if not is_whole:
                await self.drop(name)
        return await self.get(name)

    async def create_empty(self, name: str) -> Branch:
        """Create an empty branch. Raises what `create` raises."""
        async with self._connected() as connection:
            await _create(connection, self._database(name), self._source, template="template0")
        return await self.get(name)

    async def list(self) -> list[Branch]:
        async with self._connected() as connection:
            rows = await connection.fetch(
                "select datname, case when has_database_privilege(datname, 'connect')"
                " then pg_database_size(oid) else 0 end as size from pg_catalog.pg_database"
                " where shobj_description(oid, 'pg_database') = $1 order by datname",
                MARK + self._source,
            )
        start = len(self._database_prefix)
        return [Branch(row["datname"][start:], row["datname"], row["size"]) for row in rows]

    async def drop(self, name: str) -> None:
        """Drop a branch, even if programs are connected to it. Raises NotFound."""
        branch = await self.get(name)
        async with self._connected() as connection:
            await connection.execute(f"drop database {quoted(branch.database)} with (force)")

    @asynccontextmanager
    async def scratch(self, *, is_empty: bool = False) -> AsyncIterator[str]:
        """The address of a temporary branch. Raises what `create` raises."""
        name = f"scratch-{uuid4().hex[:8]}"
        await (self.create_empty(name) if is_empty else self.create(name))
        try:
            yield self.url(name)
        finally:
            await self.drop(name)

    async def get(self, name: str) -> Branch:
        """One branch. Raises NotFound."""
        database = self._database(name)
        found = [each for each in await self.list() if each.database == database]
        if not found:
            raise NotFound(
                f"There is no branch {name!r} of {self._source}.",
                "`mobvibe-tui db branch list` names them.",
            )
        return found[0]

    @property
    def _database_prefix(self) -> str:
        return f"{self._source}_branch_"

    def _database(self, name: str) -> str:
        if not _NAME.fullmatch(name) or name in _VERBS:
            raise InputError(
                f"{name[:40]!r} cannot be the name of a branch.",
                "Use a-z, 0-9, _ and -, starting with a letter, 30 at most.",
            )
        database = self._database_prefix + name
        if len(database.encode()) > LONGEST_DATABASE:
            raise InputError(f"The name {database!r} is too long.", "Choose a shorter one.")
        return database

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        if is_transaction_pooler(self._dsn):
            raise MigrationRefused(
                "Databases cannot be copied through a transaction pooler.",
                "Set DIRECT_URL to the database's direct address.",
            )
        connection = await connect(self._dsn, application_name="mobvibe-branches")
        try:
            with translated():
                yield connection
        finally:
            await connection.close()


async def _create(
    connection: asyncpg.Connection, database: str, source: str, *, template: str
) -> None:
    try:
        await connection.execute(
            f"create database {quoted(database)} template {quoted(template)}", timeout=600
        )
    except pg.DuplicateDatabaseError:
        raise InputError(
            f"There is a database {database} already.", "Choose another name, or drop that branch."
        ) from None
    except pg.ObjectInUseError:
        others = await connection.fetch(_OTHERS)
        who = ", ".join(f"{row['name']} ({row['sessions']})" for row in others) or "another program"
        raise BranchRefused(
            f"The database cannot be copied while others are connected: {who}.",
            "Close them (`mobvibe-tui down` stops those of this home), then try again.",
        ) from None
    except (pg.InsufficientPrivilegeError, pg.FeatureNotSupportedError) as error:
        raise BranchRefused(
            f"This server does not let this user copy databases: {error}.",
            "On hosted Postgres use the provider's own branches, or a role with CREATEDB.",
        ) from None
    await connection.execute(f"comment on database {quoted(database)} is {_literal(MARK + source)}")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def database_of(dsn: str) -> str:
    parts = urlsplit(dsn)
    return unquote(parts.path.lstrip("/")) or parts.username or "postgres"


def with_database(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{quote(name, safe='')}"))
