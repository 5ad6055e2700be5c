"""mobvibe-tui db contracts, url, psql."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from mobvibe_app.cli.output import Output
from mobvibe_app.postgres.programs import find_program, libpq_environment
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_environment, open_database
from mobvibe_worker.errors import InputError
from mobvibe_worker.store.schema import diagram
from mobvibe_worker.store.schema.branches import Branches
from mobvibe_worker.store.schema.contracts import contracts_file, generate
from mobvibe_worker.store.schema.migrations import MigrationRunner


async def contracts(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Generate rows.py, and in a checkout the diagram of docs/database.md, from the live catalog.

    With --check, only compare; the exit code is 1 if they differ.
    """
    async with open_database(settings, out.status) as dsn:
        await MigrationRunner(dsn).require_current()
        wanted = {contracts_file(): await generate(dsn)}
        page = diagram.document()
        if page.is_file():
            drawn = await diagram.draw(dsn)
            wanted[page] = diagram.with_diagram(page.read_text(encoding="utf-8"), drawn)
    late = [place for place, text in wanted.items() if not _holds(place, text)]
    for place, text in wanted.items():
        if place not in late:
            out.note(f"{place.name} is up to date")
        elif flags.check:
            out.note(f"{place.name} is not up to date")
        else:
            _write(place, text)
            out.note(f"{place.name} was written")
    return 1 if late and flags.check else 0


def _holds(place: Path, text: str) -> bool:
    return place.is_file() and place.read_text(encoding="utf-8") == text


def _write(place: Path, text: str) -> None:
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{place} cannot be written: {error.strerror}.", "Run it in a checkout."
        ) from error


async def url(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Print the database's address with its password on stdout."""
    environment = build_environment(settings)
    try:
        dsn = await environment.start(out.status)
        if flags.branch is not None:
            branches = Branches(settings.session_url(dsn))
            await branches.get(flags.branch)
            dsn = branches.url(flags.branch)
    finally:
        await environment.close()
    if out.is_json:
        out.value({"url": dsn})
    else:
        out.line(dsn)
    return 0


async def psql(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Run psql on the database and keep Postgres running meanwhile. Returns psql's exit code."""
    program = find_program("psql")
    if program is None:
        raise InputError("psql is not installed.", "Install the PostgreSQL client programs.")
    async with open_database(settings, out.status, flags.branch) as dsn:
        # ctrl+c belongs to psql, where it cancels the query.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        process = await asyncio.create_subprocess_exec(
            str(program), *flags.arguments, env={**os.environ, **libpq_environment(dsn)}
        )
        return await process.wait()


COMMANDS = {"contracts": contracts, "url": url, "psql": psql}
