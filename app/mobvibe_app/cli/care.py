"""mobvibe-tui restart, rebuild, reset: one service of the environment, while the others go on."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from mobvibe_app.cli.output import Output
from mobvibe_app.environment.maintenance import Maintenance
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_environment
from mobvibe_worker.errors import InputError


@asynccontextmanager
async def _care(settings: AppSettings, out: Output) -> AsyncIterator[Maintenance]:
    environment = build_environment(settings, out.status)
    try:
        yield Maintenance(environment)
    finally:
        await environment.close()


async def restart(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Stop a service and start it again, for everyone who uses it."""
    async with _care(settings, out) as care:
        await care.restart(flags.service)
    return _done(out, flags.service, "restarted")


async def rebuild(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Make anew what a service runs from; no data is lost."""
    async with _care(settings, out) as care:
        await care.rebuild(flags.service)
    return _done(out, flags.service, "rebuilt")


async def reset(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Delete what a service has, so that it begins afresh. Asks first."""
    async with _care(settings, out) as care:
        consequence = care.consequence(flags.service)
        if not flags.yes and not await _is_sure(flags.service, consequence, out):
            out.note("nothing was changed")
            return 2
        deleted = await care.reset(flags.service)
    for one in deleted:
        out.note(f"deleted {one}")
    return _done(out, flags.service, "reset", deleted=deleted)


async def _is_sure(service: str, consequence: str, out: Output) -> bool:
    if not sys.stdin.isatty():
        raise InputError(consequence, "Say --yes when that is what you want.")
    out.note(f"{consequence} Type 'reset' to go on:")
    answer: str = await asyncio.to_thread(sys.stdin.readline)
    return answer.strip() == "reset"


def _done(out: Output, service: str, what: str, **more: object) -> int:
    if out.is_json:
        out.value({"service": service, "status": what, **more})
    else:
        out.note(f"{service}: {what}")
    return 0


Command = Callable[[AppSettings, argparse.Namespace, Output], Coroutine[Any, Any, int]]
COMMANDS: dict[str, Command] = {"restart": restart, "rebuild": rebuild, "reset": reset}
