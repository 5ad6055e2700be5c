"""mobvibe-tui preview: only the previews, for a machine whose workers run elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import signal

from mobvibe_app.cli.output import Output
from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.changes import Change, ServiceChanged, TroubleChanged
from mobvibe_app.wiring import build_studio
from mobvibe_worker.errors import MobvibeError


async def serve(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Keep the served folders in step with Postgres and their Metro running, until stopped.

    Raises MobvibeError where it cannot start, or loses what it needs.
    """
    studio = build_studio(settings, has_worker=False)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    stopping = asyncio.create_task(stopped.wait())
    try:
        await studio.open(lambda change: _tell(out, change))
        out.note("previews follow the projects of this database; ctrl+c stops them")
        lost = asyncio.create_task(studio.lost())
        await asyncio.wait({stopping, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.is_set():
            raise lost.result()
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        return 0
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await studio.close()


def _tell(out: Output, change: Change) -> None:
    if isinstance(change, ServiceChanged) and change.status.name != "worker":
        out.status(change.status)
    elif isinstance(change, TroubleChanged) and change.message:
        out.error(MobvibeError(change.message, change.remedy))
