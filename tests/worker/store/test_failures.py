"""Database errors that may be repeated, those that may not, and the error reported for each."""

from __future__ import annotations

import asyncpg
import pytest
from asyncpg import exceptions as pg

from mobvibe_worker.errors import Conflict, DatabaseUnreachable, Denied, MobvibeError, StoreError
from mobvibe_worker.store.connection.failures import NOT_EXECUTED, is_lost, translated

SWITCH = "cannot switch to state 15; another operation (2) is in progress"


@pytest.mark.parametrize(
    ("error", "is_safe_for_every_write"),
    [
        (ConnectionRefusedError(), True),
        (pg.CannotConnectNowError("starting up"), True),
        (pg.TooManyConnectionsError("53300"), True),
        (pg.SerializationError("40001"), True),
        (pg.DeadlockDetectedError("40P01"), True),
        (pg.InvalidCachedStatementError("the plan changed"), True),
        (pg.ConnectionDoesNotExistError("08003"), False),
        (pg.AdminShutdownError("57P01"), False),
        (pg.CrashShutdownError("57P02"), False),
        (pg.InternalClientError(SWITCH), False),
        (asyncpg.InterfaceError("connection is closed"), False),
        (ConnectionResetError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_lost_server_is_reported_as_unreachable(
    error: Exception, is_safe_for_every_write: bool
) -> None:
    assert is_lost(error)
    assert isinstance(error, NOT_EXECUTED) is is_safe_for_every_write
    with pytest.raises(DatabaseUnreachable), translated():
        raise error


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (pg.DiskFullError("no space"), StoreError),
        (pg.UniqueViolationError("duplicate key"), Conflict),
        (pg.ForeignKeyViolationError("no such project"), Conflict),
        (pg.InsufficientPrivilegeError("permission denied"), Denied),
        (pg.PostgresSyntaxError("at or near"), StoreError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_errors_are_never_repeated(error: Exception, reported: type[MobvibeError]) -> None:
    assert not is_lost(error)
    with pytest.raises(reported) as caught, translated():
        raise error
    assert not isinstance(caught.value, DatabaseUnreachable)


def test_each_error_of_the_store_has_a_remedy() -> None:
    def kinds(top: type[StoreError]) -> list[type[StoreError]]:
        return [top, *(each for kind in top.__subclasses__() for each in kinds(kind))]

    assert len(kinds(StoreError)) > 12
    assert [kind.__name__ for kind in kinds(StoreError) if not kind("It is so.").remedy] == []


def test_wrong_use_of_the_driver_is_not_translated() -> None:
    with pytest.raises(asyncpg.InterfaceError), translated():
        raise asyncpg.InterfaceError("the server expects 1 argument for this query, 2 were passed")
