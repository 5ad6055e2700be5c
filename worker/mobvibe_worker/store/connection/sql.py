"""Runs SQL with time limits and readable errors, and returns rows: plain records, or a table's row types."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeAlias, TypeVar

from asyncpg import Pool, Record

from mobvibe_worker.errors import MobvibeError, SchemaTooOld
from mobvibe_worker.store.connection.failures import NOT_EXECUTED, is_lost, translated
from mobvibe_worker.store.connection.user_view import UserView

R = TypeVar("R")
T = TypeVar("T")
Source: TypeAlias = Pool | UserView
"""Where statements run: with the program's own role, or under one person's row-level security."""

ACQUIRE_SECONDS = 10.0
PATIENCE_SECONDS = 4.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.25


async def repeatable(source: Source, sql: str, *arguments: Any) -> list[Record]:
    """Run a read or an idempotent write, and repeat it with growing pauses while the server is unreachable.

    Raises DatabaseUnreachable after `PATIENCE_SECONDS`, else the matching StoreError.
    """
    return await _with_patience(lambda: _fetch(source, sql, arguments), is_lost)


async def once(source: Source, sql: str, *arguments: Any) -> list[Record]:
    """Run a write that must not happen twice. It is repeated only if it certainly did not happen."""
    return await _with_patience(
        lambda: _fetch(source, sql, arguments), lambda error: isinstance(error, NOT_EXECUTED)
    )


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """One table, or a function's result, read and written as a generated row type."""

    table: str
    kind: type[R]
    key: str = "id"

    def columns(self, alias: str = "") -> str:
        """The select list. It names every column, so that columns of newer migrations are ignored."""
        prefix = f"{alias}." if alias else ""
        return ", ".join(prefix + name for name in self._names())

    def read(self, records: Iterable[Record]) -> list[R]:
        """Convert records of exactly these columns to rows."""
        return [self.kind(**record) for record in records]

    def read_part(self, record: Record, start: int = 0) -> R | None:
        """This table's row in a joined record, from column `start` on; None if an outer join found none."""
        values = tuple(record.values())[start : start + len(self)]
        return None if all(value is None for value in values) else self.kind(*values)

    def __len__(self) -> int:
        """How many columns a row has."""
        return len(self._names())

    async def find(self, source: Source, condition: str, *arguments: Any) -> list[R]:
        """The rows that meet a condition, which may end in `order by` and `limit`."""
        sql = f"select {self.columns()} from public.{self.table} where {condition}"
        return self.read(await repeatable(source, sql, *arguments))

    async def insert(self, source: Source, values: Mapping[str, Any]) -> R:
        """Insert a row and return it with its defaults. Raises Conflict, Denied and what `once` raises."""
        return self.read(await once(source, self.insertion(values), *values.values()))[0]

    async def put(
        self, source: Source, values: Mapping[str, Any], changes: Sequence[str], also: str = ""
    ) -> R:
        """Upsert by key. On conflict, set `changes` from the values and the SQL in `also`. Idempotent."""
        taken = ", ".join(f"{name} = excluded.{name}" for name in changes)
        conflict = f"on conflict ({self.key}) do update set {taken}{', ' if also else ''}{also}"
        sql = self.insertion(values, conflict)
        return self.read(await repeatable(source, sql, *values.values()))[0]

    def insertion(self, values: Mapping[str, Any], conflict: str = "") -> str:
        """The statement that inserts these values in their order and returns the row."""
        names = self._known(values)
        places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        return (
            f"insert into public.{self.table} ({', '.join(names)}) values ({places})"
            f" {conflict} returning {self.columns()}"
        )

    async def values(self, source: Source, name: str, condition: str, *arguments: Any) -> list[Any]:
        self._known({name: None})
        sql = f"select {name} from public.{self.table} where {condition}"
        return [record[0] for record in await repeatable(source, sql, *arguments)]

    async def change(self, source: Source, key: Any, values: Mapping[str, Any]) -> None:
        """Set columns of a row, if it exists. Only for idempotent changes: repeated while the server is unreachable."""
        names = self._known(values)
        changes = ", ".join(f"{name} = ${number}" for number, name in enumerate(names, 2))
        sql = f"update public.{self.table} set {changes} where {self.key} = $1"
        await repeatable(source, sql, key, *values.values())

    def _names(self) -> tuple[str, ...]:
        return tuple(each.name for each in fields(self.kind))  # type: ignore[arg-type]

    def _known(self, values: Mapping[str, Any]) -> list[str]:
        """Names become SQL, so only those of the row type are allowed."""
        known = self._names()
        unknown = [name for name in values if name not in known]
        if unknown:
            raise ValueError(f"{self.table} has no column {unknown[0]!r}")
        return list(values)


def only(records: Sequence[Record], kind: type[T]) -> T:
    """The single value that a function returned. Raises SchemaTooOld if it has another type."""
    return _checked(records[0][0], kind)


def only_or_none(records: Sequence[Record], kind: type[T]) -> T | None:
    """Like `only`, for a function that may return null."""
    value = records[0][0]
    return None if value is None else _checked(value, kind)


def each(records: Iterable[Record], kind: type[T]) -> list[T]:
    """The values that a set-returning function returned. Raises what `only` raises."""
    return [_checked(record[0], kind) for record in records]


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise SchemaTooOld(
            f"A function of the database returned {type(value).__name__}, not {kind.__name__}."
        )
    return value


async def _fetch(source: Source, sql: str, arguments: tuple[Any, ...]) -> list[Record]:
    # A time limit costs a task, so it is set only if there may be a wait.
    has_idle_one = isinstance(source, Pool) and source.get_idle_size() > 0
    async with source.acquire(timeout=None if has_idle_one else ACQUIRE_SECONDS) as connection:
        rows: list[Record] = await connection.fetch(sql, *arguments)
        # The store's statements change no setting beyond their transaction, so the reset can be skipped. After a
        # failure the connection may be in any state, and the reset runs.
        if leave_as_found := getattr(connection, "leave_as_found", None):
            leave_as_found()
        return rows


async def _with_patience(
    call: Callable[[], Awaitable[T]], is_worth_repeating: Callable[[BaseException], bool]
) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = _FIRST_PAUSE
    while True:
        try:
            with translated():
                return await call()
        except MobvibeError as error:
            cause = error.__cause__
            if cause is None or not is_worth_repeating(cause):
                raise
            if time.monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause * random.uniform(0.75, 1.25))
        pause = min(pause * 2, _LONGEST_PAUSE)
