"""mobvibe-tui db branch NAME, branch list, branch drop NAME."""

from __future__ import annotations

import argparse

from mobvibe_app.cli.output import Output
from mobvibe_app.postgres.programs import copy_with_dump
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import open_database
from mobvibe_worker.errors import InputError
from mobvibe_worker.store.schema.branches import Branch, Branches


async def branch(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    if (flags.name == "drop") != (flags.dropped is not None):
        raise InputError(
            "Name exactly one branch.",
            "Use `db branch NAME`, `db branch list` or `db branch drop NAME`.",
        )
    async with open_database(settings, out.status) as dsn:
        branches = Branches(dsn, copy_with_dump)
        match flags.name:
            case "list":
                found = await branches.list()
                for each in found:
                    _print(out, each)
                if not found:
                    out.note("there are no branches; `db branch NAME` makes one")
            case "drop":
                await branches.drop(flags.dropped)
                out.note(f"dropped {flags.dropped}")
            case name:
                made = await branches.create(name)
                _print(out, made)
                out.note(f'use it: DATABASE_URL="$(mobvibe-tui db url --branch {made.name})"')
    return 0


def _print(out: Output, branch: Branch) -> None:
    if out.is_json:
        out.value(
            {"branch": {"name": branch.name, "database": branch.database, "bytes": branch.size}}
        )
    else:
        out.line(f"{branch.name:<30} {branch.size / 1_000_000:>8.1f} MB  {branch.database}")


COMMANDS = {"branch": branch}
