"""Translates asyncpg's errors into readable ones, and knows which are worth a repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit

import asyncpg
from asyncpg import exceptions as pg

from mobvibe_worker.errors import (
    BudgetReached,
    Conflict,
    DatabaseUnreachable,
    Denied,
    HeadMoved,
    InputError,
    LeaseLost,
    MobvibeError,
    NotFound,
    SchemaTooOld,
    SessionLimitReached,
    StoreError,
)

# The statement did not run or was rolled back, so every statement can be repeated.
NOT_EXECUTED = (
    ConnectionRefusedError,
    pg.CannotConnectNowError,
    pg.TooManyConnectionsError,
    pg.SerializationError,
    pg.DeadlockDetectedError,
    # A migration changed a prepared statement's result; asyncpg cannot prepare it again within a transaction.
    pg.InvalidCachedStatementError,
)
# The connection was lost with the reply, so only idempotent statements can be repeated.
_LOST = (
    OSError,
    pg.PostgresConnectionError,
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    asyncpg.InternalClientError,
)
# Rolled back by our time limit or by the server's.
_TOO_LONG = (TimeoutError, pg.QueryCanceledError, pg.LockNotAvailableError)
_OURS: dict[str, type[MobvibeError]] = {
    "MV001": LeaseLost,
    "MV002": HeadMoved,
    "MV003": BudgetReached,
    "MV004": NotFound,
    "MV006": InputError,
    "MV007": SessionLimitReached,
}
_TAKEN = (pg.UniqueViolationError, pg.ExclusionViolationError)
_MISSING_SCHEMA = frozenset({"42P01", "42883", "42703", "3F000"})


def is_lost(error: BaseException) -> bool:
    """Whether an error of asyncpg means that the server is unreachable for the moment."""
    if isinstance(error, NOT_EXECUTED + _LOST):
        return True
    # asyncpg also raises InterfaceError for wrong use.
    return isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of asyncpg into readable ones. Wrong use of asyncpg is not translated."""
    try:
        yield
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        pg.InternalClientError,
    ) as error:
        if isinstance(error, _TOO_LONG):
            raise DatabaseUnreachable(
                "The database did not answer in time.",
                "It is busy or has no free connection; try again in a moment.",
            ) from error
        if is_lost(error):
            raise DatabaseUnreachable(
                f"The database does not answer ({type(error).__name__}).",
                "The program keeps trying; check that the server runs.",
            ) from error
        if isinstance(error, asyncpg.PostgresError):
            raise _readable(error) from error
        raise


def _readable(error: asyncpg.PostgresError) -> MobvibeError:
    state = str(getattr(error, "sqlstate", "") or "")
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    if ours := _OURS.get(state):
        return ours(f"{said[:1].upper()}{said[1:]}.")
    if state in _MISSING_SCHEMA:
        return SchemaTooOld(f"The database lacks a part of the schema: {said}.")
    if isinstance(error, pg.DiskFullError):
        return StoreError(
            "The database's disk is full.", "Free some space; the program then continues."
        )
    if isinstance(error, pg.InsufficientPrivilegeError | pg.ReadOnlySQLTransactionError):
        return Denied(f"The database refused that: {said}.")
    if isinstance(error, _TAKEN):
        return Conflict(f"It exists already: {said}.", "Choose another name or key.")
    if isinstance(error, pg.ForeignKeyViolationError):
        return Conflict(f"It refers to something missing, or something else refers to it: {said}.")
    return StoreError(f"The database refused that: {said}.")


def unreachable(dsn: str, error: BaseException) -> DatabaseUnreachable:
    """Why the connection failed, without the URL's secrets."""
    parts = _parts(dsn)
    if parts is None or isinstance(error, (ValueError, pg.ClientConfigurationError)):
        return DatabaseUnreachable(
            "DATABASE_URL is not the address of a Postgres database.",
            "Write it as postgresql://USER:PASSWORD@HOST:5432/NAME.",
        )
    place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    if isinstance(error, pg.InvalidCatalogNameError):
        return DatabaseUnreachable(
            f"The server at {place} has no database {parts.path.lstrip('/')!r}.",
            "Create it, or correct the name at the end of DATABASE_URL.",
        )
    if isinstance(error, pg.InvalidAuthorizationSpecificationError):
        return DatabaseUnreachable(
            f"The server at {place} does not accept this user and password.",
            "Correct them in DATABASE_URL; special characters must be percent-encoded.",
        )
    return DatabaseUnreachable(*_network_reason(place, parts, error))


def _network_reason(place: str, parts: SplitResult, error: BaseException) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return f"The server at {place} does not answer in time.", "Check the network and the host."
    if isinstance(error, pg.TooManyConnectionsError):
        return f"The server at {place} has no connection left.", "Close other programs that use it."
    if isinstance(error, pg.CannotConnectNowError):
        return f"The server at {place} is starting up or shutting down.", "Try again in a moment."
    if isinstance(error, OSError) and _is_unknown_host(error):
        return (
            f"The host {parts.hostname!r} cannot be found.",
            "Correct its name in DATABASE_URL, or check the network.",
        )
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return (
            f"Nothing listens at {place}.",
            "Start the server, or correct the host and port in DATABASE_URL.",
        )
    return f"The server at {place} cannot be used ({type(error).__name__}).", "Check DATABASE_URL."


def _is_unknown_host(error: OSError) -> bool:
    return type(error).__name__ == "gaierror"


def _parts(dsn: str) -> SplitResult | None:
    try:
        parts = urlsplit(dsn)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in {"postgres", "postgresql"} else None
