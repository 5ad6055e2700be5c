"""mobvibe-tui up, down, status, logs, restart, rebuild, reset: the environment and its services."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mobvibe_app.cli.exporting import export
from mobvibe_app.cli.output import Output
from mobvibe_app.environment.maintenance import POSTGRES, Maintenance
from mobvibe_app.preview.events import printed_lines
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_environment
from mobvibe_worker.errors import InputError, MobvibeError
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import WorkerSummary
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.schema.wipe import read_locked
from mobvibe_worker.store.workers import WorkerRegistry

MOST_BYTES = 200_000
MOST_LINES = 200
_WITHOUT_EXPORT = "reset without a copy by `mobvibe-tui down` and another try."


async def up(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Start Postgres, bring its schema up to date, and leave it running until `down`."""
    environment = build_environment(settings)
    try:
        dsn = await environment.start(out.status)
        await environment.migrate(dsn)
        await environment.hold()
    finally:
        await environment.close()
    out.note("running until `mobvibe-tui down`; `mobvibe-tui db url` prints its address")
    if out.is_json:
        out.value({"status": "up"})
    return 0


async def down(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Stop everything of this home, for every program that uses it. With --all remove it from Docker too."""
    environment = build_environment(settings)
    stopped = await environment.shut_down()
    out.note("stopped" if stopped else "nothing was running")
    removed = await environment.remove_all() if flags.all else None
    groups = {} if removed is None else asdict(removed)
    for kind, names in groups.items():
        for name in names:
            out.note(f"removed from Docker ({kind}): {name}")
    if out.is_json:
        out.value({"status": "down", "stopped": stopped, "removed": groups})
    return 0


async def status(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Print what runs in this home, and the workers of its database, without starting anything."""
    environment, home = build_environment(settings), Home(settings.home)
    services, modes = await environment.running(), environment.services.modes.settled()
    is_up = settings.database_url is not None or any(one.name == "postgres" for one in services)
    workers = await _workers(settings, out) if is_up else []
    if out.is_json:
        out.value(
            {
                "home": str(home.root),
                "modes": modes,
                "services": [asdict(service) for service in services],
                "workers": [asdict(worker) for worker in workers],
            }
        )
        return 0
    out.line(f"home: {home.root}")
    for name, mode in modes.items():
        out.line(f"  {name:<24} by choice: {mode}")
    for service in services:
        port = f"  port {service.facts['port']}" if "port" in service.facts else ""
        mode = f"  {service.facts['mode']}" if "mode" in service.facts else ""
        out.line(f"  {service.name:<24} running{port}  pid {service.pid}{mode}")
    if not services:
        out.line("  nothing runs; `mobvibe-tui` or `mobvibe-tui up` starts it")
    for line in map(_worker_line, workers):
        out.line(line)
    return 0


async def _workers(settings: AppSettings, out: Output) -> list[WorkerSummary]:
    """The workers of this home's database; none, with a note, if the database cannot be read."""
    environment = build_environment(settings)
    try:
        pool = await open_pool(await environment.start(lambda status: None), size=1)
        try:
            return await WorkerRegistry(pool).summaries()
        finally:
            await pool.close()
    except MobvibeError as error:
        out.note(f"workers: {error}")
        return []
    finally:
        await environment.close()


def _worker_line(worker: WorkerSummary) -> str:
    now = datetime.now(UTC)
    heard = f"{(now - worker.last_heartbeat_at).total_seconds():.0f} s ago"
    doing = ", ".join(
        f"{job.project} (attempt {job.attempt}, {(now - job.started_at).total_seconds():.0f} s)"
        for job in worker.work
    )
    state = "lost" if worker.is_lost else doing or "idle"
    place = f"{worker.host}:{worker.pid}"
    slots = f"{len(worker.work)}/{worker.slots} slots"
    return (
        f"  worker {place:<24} {state}  {slots}  version {worker.version}  last heartbeat {heard}"
    )


async def logs(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Print the end of what a service printed: postgres, preview-NAME, supervisor. Raises InputError."""
    found = {log.stem: log for log in sorted(Home(settings.home).logs.glob("*.log"))}
    if flags.service not in found:
        known = ", ".join(found) or "none; nothing has run in this home"
        raise InputError(f"There is no log of {flags.service!r}.", f"There are: {known}.")
    with found[flags.service].open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - MOST_BYTES))
        lines = printed_lines(log.read().decode(errors="replace"))[-MOST_LINES:]
    for line in lines:
        if out.is_json:
            out.value({"service": flags.service, "line": clean_text(line)})
        else:
            out.line(line)
    return 0


@asynccontextmanager
async def _maintenance(settings: AppSettings, out: Output) -> AsyncIterator[Maintenance]:
    environment = build_environment(settings, out.status)
    try:
        yield Maintenance(environment)
    finally:
        await environment.close()


async def restart(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    async with _maintenance(settings, out) as maintenance:
        await maintenance.restart(flags.service)
    return _done(out, flags.service, "restarted")


async def rebuild(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    async with _maintenance(settings, out) as maintenance:
        await maintenance.rebuild(flags.service)
    return _done(out, flags.service, "rebuilt")


async def reset(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Delete the data of a service, so that it begins from nothing. Asks first; exports the projects if it can."""
    async with _maintenance(settings, out) as maintenance:
        consequence = maintenance.consequence(flags.service)
        dsn = None
        if flags.service == POSTGRES:
            dsn = await maintenance.database()
            consequence += (
                " Their files are exported first."
                if dsn
                else " Nothing can be exported, as Postgres does not run or answer."
            )
        if not flags.yes and not await _is_sure(flags.service, consequence, out):
            out.note("nothing was changed")
            return 2
        if dsn:
            exporting = partial(export, Home(settings.home), out, _WITHOUT_EXPORT)
            await read_locked(MigrationRunner(dsn), exporting)
        deleted = await maintenance.reset(flags.service)
    for one in deleted:
        out.note(f"deleted {one}")
    return _done(out, flags.service, "reset", deleted=deleted)


async def _is_sure(service: str, consequence: str, out: Output) -> bool:
    if not sys.stdin.isatty():
        raise InputError(consequence, "Add --yes if that is what you want.")
    out.note(f"{consequence} Type 'reset' to continue:")
    answer: str = await asyncio.to_thread(sys.stdin.readline)
    return answer.strip() == "reset"


def _done(out: Output, service: str, what: str, **more: object) -> int:
    if out.is_json:
        out.value({"service": service, "status": what, **more})
    else:
        out.note(f"{service}: {what}")
    return 0


Command = Callable[[AppSettings, argparse.Namespace, Output], Coroutine[Any, Any, int]]
COMMANDS: dict[str, Command] = {
    "up": up,
    "down": down,
    "status": status,
    "logs": logs,
    "restart": restart,
    "rebuild": rebuild,
    "reset": reset,
}
