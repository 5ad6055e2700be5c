"""mobvibe-tui preview: only the previews, for a machine whose workers run elsewhere."""

from __future__ import annotations

import argparse
import asyncio

from mobvibe_app.cli.output import Output
from mobvibe_app.cli.race import Race
from mobvibe_app.cli.serving import reported
from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_studio


async def serve(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Keep the served folders in step with Postgres and their Metro running, until stopped.

    Raises MobvibeError if it cannot start, or loses what it needs.
    """
    studio = build_studio(settings, has_worker=False)
    async with Race(studio) as race:
        if await race.first(studio.open(reported(out, without="worker"))) is not None:
            out.note("previews follow the projects of this database; ctrl+c stops them")
            await race.first(asyncio.Event().wait())
    return 0
