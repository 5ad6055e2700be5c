"""mobvibe-tui worker: only the worker, for another machine."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mobvibe_app.cli.output import Output
from mobvibe_app.environment.services import Services
from mobvibe_app.settings import AppSettings
from mobvibe_worker.errors import InputError
from mobvibe_worker.home import Home
from mobvibe_worker.runner.headless import run_headless
from mobvibe_worker.runner.log_lines import log_to_stderr
from mobvibe_worker.runner.monitor import Reading
from mobvibe_worker.runner.reloading import ReloadingWorker, own_source

_BY_FLAG = ("concurrency", "metrics_port", "drain_seconds", "preview")


def run_worker(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Work until stopped. Raises MobvibeError if it cannot start."""
    log_to_stderr(settings.secrets())
    if flags.reload is not None:
        if out.is_json:
            raise InputError("--reload prints lines for a person.", "Leave out one of the two.")
        folders = (Path(flags.reload).absolute(),) if flags.reload else own_source()
        return asyncio.run(_reload(settings, folders, out))
    services = Services(settings, Home(settings.home))
    on_reading = _reading_printer(out) if out.is_json else None
    try:
        asyncio.run(run_headless(settings, out.note, on_reading, services.sandbox(out.status)))
    finally:
        services.close()
    return 0


def _reading_printer(out: Output) -> Callable[[Reading], None]:
    return lambda reading: out.value({"monitor": reading.to_data()})


async def _reload(settings: AppSettings, folders: tuple[Path, ...], out: Output) -> int:
    # The app's command instead of the engine's, because it sandboxes the checks as the settings say.
    command = (sys.executable, "-m", "mobvibe_app", "worker")
    return await ReloadingWorker(command, _environment(settings), folders, out.note).run()


def _environment(settings: AppSettings) -> dict[str, str]:
    """The flags as environment variables for the worker's process, so that no command line contains secrets."""
    env = {**os.environ, "MOBVIBE_HOME": str(settings.home)}
    if settings.database_url is not None:
        env["DATABASE_URL"] = settings.database_url.get_secret_value()
    given = {name: getattr(settings, name) for name in _BY_FLAG}
    return env | {
        f"MOBVIBE_{name.upper()}": str(value) for name, value in given.items() if value is not None
    }
