"""mobvibe-tui bench queue|events: measured here and now, beside the peers that are installed."""

from __future__ import annotations

import argparse
import asyncio

from mobvibe_app.bench.figures import as_data, table
from mobvibe_app.cli.output import Output
from mobvibe_app.settings import AppSettings


def bench(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Measure, then print a table, or with --json one figure a line.

    Uses a temporary embedded Postgres; with --postgres URL that server, in databases that are dropped afterwards.
    """
    named = getattr(flags, "postgres", None)
    is_url = isinstance(named, str) and "://" in named
    server = settings.database_url.get_secret_value() if is_url and settings.database_url else None
    if flags.what == "queue":
        from mobvibe_app.bench.queue_bench import bench_queue

        figures = asyncio.run(bench_queue(server, is_quick=flags.quick, on_line=out.note))
    else:
        from mobvibe_app.bench.event_bench import bench_events

        figures = asyncio.run(bench_events(server, is_quick=flags.quick, on_line=out.note))
    measured = figures.all()
    for figure in measured if out.is_json else ():
        out.value({"bench": as_data(figure, measured)})
    for line in [] if out.is_json else table(measured):
        out.line(line)
    return 0
