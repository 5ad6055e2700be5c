"""mobvibe-tui db: the schema of the database."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from mobvibe_app.cli.output import Output
from mobvibe_app.environment.environment import Environment
from mobvibe_app.settings import AppSettings
from mobvibe_worker.errors import InputError
from mobvibe_worker.store.migrations import MigrationRunner


@asynccontextmanager
async def _runner(settings: AppSettings, out: Output) -> AsyncIterator[MigrationRunner]:
    environment = Environment(settings)
    try:
        yield MigrationRunner(await environment.start(out.status))
    finally:
        await environment.close()


async def migrate(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Apply what is pending; twice is harmless."""
    async with _runner(settings, out) as runner:
        applied = await runner.migrate()
    for one in applied:
        _tell(out, {"version": one.version, "name": one.name, "state": "applied"})
    if not applied:
        out.note("nothing is pending")
    return 0


async def rollback(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Take back the newest migration, or all above --to."""
    async with _runner(settings, out) as runner:
        applied = [state.version for state in await runner.status() if state.state == "applied"]
        to = flags.to if flags.to is not None else max(0, len(applied) - 1)
        if to < 0 or to > len(applied):
            raise InputError(
                f"There is no version {to} to go back to.", f"It is at {len(applied)} now."
            )
        for one in await runner.rollback(to):
            _tell(out, {"version": one.version, "name": one.name, "state": "rolled back"})
    return 0


async def status(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Print each migration and whether it is applied."""
    async with _runner(settings, out) as runner:
        for state in await runner.status():
            _tell(out, {"version": state.version, "name": state.name, "state": state.state})
    return 0


async def url(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Print the address of the database on stdout, its password included: it was asked for."""
    environment = Environment(settings)
    try:
        dsn = await environment.start(out.status)
    finally:
        await environment.close()
    if out.is_json:
        out.value({"url": dsn})
    else:
        out.line(dsn)
    return 0


def _tell(out: Output, migration: dict[str, object]) -> None:
    if out.is_json:
        out.value({"migration": migration})
    else:
        out.line(f"{migration['version']:>4}  {migration['name']:<32} {migration['state']}")


Command = Callable[[AppSettings, argparse.Namespace, Output], Coroutine[Any, Any, int]]
COMMANDS: dict[str, Command] = {
    "migrate": migrate,
    "rollback": rollback,
    "status": status,
    "url": url,
}
