"""mobvibe-tui db migrate, rollback, status, verify, reset, seed."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from mobvibe_app.cli.exporting import export
from mobvibe_app.cli.output import Output
from mobvibe_app.postgres.programs import copy_with_dump
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import open_database
from mobvibe_worker.errors import InputError
from mobvibe_worker.home import Home
from mobvibe_worker.store.schema import rehearsal
from mobvibe_worker.store.schema.migrations import Applied, MigrationRunner
from mobvibe_worker.store.schema.wipe import clear
from mobvibe_worker.store.seed import seed as seed_database

MOST_DIFFERENCES = 20
_WITHOUT_EXPORT = "reset without a copy: `--without-export`."


async def migrate(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    async with open_database(settings, out.status) as dsn:
        if flags.on_branch:
            tried = await rehearsal.rehearse(dsn, copy_in_use=copy_with_dump)
            _print(out, tried, "tried on a copy")
        applied = await MigrationRunner(dsn).migrate()
    _print(out, applied, "applied")
    if not applied:
        out.note("nothing is pending")
    return 0


async def rollback(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Roll back the newest migration, or all above --to. Asks first if rows would be deleted."""
    async with open_database(settings, out.status) as dsn:
        runner = MigrationRunner(dsn)
        states = await runner.status()
        applied = [state.version for state in states if state.state != "pending"]
        newest = applied[-1] if applied else 0
        to = flags.to if flags.to is not None else (applied[-2] if len(applied) > 1 else 0)
        if not 0 <= to <= newest:
            raise InputError(
                f"There is no version {to} to go back to.", f"The database is at {newest}."
            )
        lost = await runner.tables_at_risk(to)
        if lost and not flags.yes:
            what = f"The rows of {', '.join(lost)} in {_place_of(dsn)}"
            if not await _is_sure("rollback", what, out):
                return 2
        _print(out, await runner.rollback(to), "rolled back")
    return 0


async def status(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    async with open_database(settings, out.status) as dsn:
        for state in await MigrationRunner(dsn).status():
            at = state.applied_at.isoformat() if state.applied_at else None
            _line(out, state.version, state.name, state.state, applied_at=at)
    return 0


async def verify(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Go up, down and up again on a branch; the exit code is 1 if the schemas differ."""
    async with open_database(settings, out.status) as dsn:
        found = await rehearsal.verify(dsn, copy_in_use=copy_with_dump)
    if found.why_empty:
        out.note(f"on an empty database: {found.why_empty}")
    if out.is_json:
        out.value(
            {
                "verified": {
                    "migrations": found.migrations,
                    "objects": found.objects,
                    "with_data": found.has_data,
                    "differences": list(found.differences),
                }
            }
        )
    else:
        where = "on a copy with the data" if found.has_data else "on an empty database"
        out.line(f"{found.migrations} migrations up, down and up again {where}")
        for line in found.differences[:MOST_DIFFERENCES]:
            out.line(f"  {line}")
        same = "the schemas are identical" if not found.differences else "the schemas differ"
        out.line(f"{found.objects} objects of the schema compared: {same}")
    return 1 if found.differences else 0


async def reset(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Export the projects, delete everything and apply all migrations again. Asks first."""
    async with open_database(settings, out.status) as dsn:
        what = f"Every project, session and event in {_place_of(dsn)}"
        if not flags.yes and not await _is_sure("reset", what, out):
            return 2
        runner = MigrationRunner(dsn)
        on_locked = (
            None
            if flags.without_export
            else partial(export, Home(settings.home), out, _WITHOUT_EXPORT)
        )
        rolled_back = await clear(runner, on_locked)
        if not rolled_back:
            out.note("nothing was deleted, as no migration is recorded in this database")
        _print(out, rolled_back, "rolled back")
        _print(out, await runner.migrate(), "applied")
        if flags.seed:
            await _seed(dsn, out)
    return 0


async def seed(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Insert example people, apps and builds. Idempotent."""
    async with open_database(settings, out.status) as dsn:
        await MigrationRunner(dsn).require_current()
        await _seed(dsn, out)
    return 0


async def _seed(dsn: str, out: Output) -> None:
    added = await seed_database(dsn)
    if out.is_json:
        out.value({"seeded": added})
    elif not any(added.values()):
        out.line("the example data is there already")
    else:
        out.line(", ".join(f"{count} {table}" for table, count in added.items()))
        out.line("look around as one of them: mobvibe-tui --as grace@example.com")


def _place_of(dsn: str) -> str:
    """Which database that is, without its secrets."""
    parts = urlsplit(dsn)
    return f"{parts.path.lstrip('/')} at {parts.hostname or 'localhost'}:{parts.port or 5432}"


async def _is_sure(word: str, what: str, out: Output) -> bool:
    if not sys.stdin.isatty():
        raise InputError(f"{what} would be deleted.", "Add --yes to confirm.")
    out.note(f"{what} will be deleted. Type '{word}' to continue:")
    answer: str = await asyncio.to_thread(sys.stdin.readline)
    if answer.strip() == word:
        return True
    out.note("nothing was changed")
    return False


def _print(out: Output, migrations: Sequence[Applied], state: str) -> None:
    for one in migrations:
        _line(out, one.version, one.name, state, milliseconds=one.milliseconds)


def _line(out: Output, version: int, name: str, state: str, **more: object) -> None:
    if out.is_json:
        out.value({"migration": {"version": version, "name": name, "state": state, **more}})
    else:
        out.line(f"{version:>4}  {name:<32} {state}")


COMMANDS = {
    "migrate": migrate,
    "rollback": rollback,
    "status": status,
    "verify": verify,
    "reset": reset,
    "seed": seed,
}
