"""mobvibe-tui db contracts, url, psql."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal

from mobvibe_app.cli.db.opened import opened
from mobvibe_app.cli.output import Output
from mobvibe_app.environment.environment import Environment
from mobvibe_app.environment.postgres_programs import find_program, libpq_environment
from mobvibe_app.settings import AppSettings
from mobvibe_worker.errors import InputError
from mobvibe_worker.store.branches import Branches
from mobvibe_worker.store.contracts import contracts_file, generate
from mobvibe_worker.store.migrations import MigrationRunner


async def contracts(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Write rows.py from the live catalog; with --check only say whether it is in step (1 when not)."""
    async with opened(settings, out) as dsn:
        await MigrationRunner(dsn).require_current()
        text = await generate(dsn)
    place = contracts_file()
    is_current = place.is_file() and place.read_text(encoding="utf-8") == text
    if flags.check:
        told = "is what the database says" if is_current else "is not what the database says"
        out.note(f"{place.name} {told}")
        return 0 if is_current else 1
    if not is_current:
        try:
            place.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{place} cannot be written: {error.strerror}.", "Run it in a checkout."
            ) from error
    out.note(f"{place.name} {'is current' if is_current else 'was written'}")
    return 0


async def url(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Print the address of the database on stdout, its password included: it was asked for."""
    environment = Environment(settings)
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
    """psql on the database; Postgres is kept up for as long as it runs. Returns psql's exit code."""
    program = find_program("psql")
    if program is None:
        raise InputError("There is no psql here.", "Install PostgreSQL's client programs.")
    async with opened(settings, out, flags.branch) as dsn:
        # ctrl+c belongs to psql: it cancels the query there.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        process = await asyncio.create_subprocess_exec(
            str(program), *flags.arguments, env={**os.environ, **libpq_environment(dsn)}
        )
        return await process.wait()
