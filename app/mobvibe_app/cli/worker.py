"""mobvibe-tui worker: only the worker, for another machine."""

from __future__ import annotations

import asyncio
import logging

from mobvibe_app.cli.output import Output
from mobvibe_app.environment.services import Services
from mobvibe_app.settings import AppSettings
from mobvibe_worker.home import Home
from mobvibe_worker.runner.headless import run_headless


def run_worker(settings: AppSettings, out: Output) -> int:
    """Work until stopped. Raises MobvibeError where it cannot start."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    services = Services(settings, Home(settings.home))
    try:
        asyncio.run(run_headless(settings, out.note, services.sandbox(out.status)))
    finally:
        services.close()
    return 0
