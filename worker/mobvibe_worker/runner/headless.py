"""Runs a worker without a dashboard, on any machine that reaches Postgres."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from mobvibe_worker.errors import InputError
from mobvibe_worker.home import Home
from mobvibe_worker.runner.metrics import serving_metrics
from mobvibe_worker.runner.monitor import Reading, monitor
from mobvibe_worker.runner.wiring import build_retention, build_worker
from mobvibe_worker.runner.with_retention import WorkerWithRetention
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.settings import WorkerSettings
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.stores import Stores
from mobvibe_worker.toolchain.sandbox import Sandbox


async def run_headless(
    settings: WorkerSettings,
    on_line: Callable[[str], None],
    on_reading: Callable[[Reading], None] | None = None,
    sandbox: Sandbox | None = None,
) -> None:
    """Work until SIGTERM or ctrl+c. The first lets running jobs finish; a second, or SIGHUP, hands them back at once.

    `on_reading` receives the readings of the queue; without it they are lines for `on_line`. Raises InputError
    without a database URL or the sandbox that the settings ask for, StoreError if the database cannot be used,
    ServiceError if the metrics cannot be served.
    """
    dsn = _usable(settings, sandbox)
    Home(settings.home).prepare()
    await MigrationRunner(dsn).require_current()
    async with AsyncExitStack() as stack:
        pool = await open_pool(
            dsn, application_name="mobvibe-worker", slow_seconds=settings.slow_query_ms / 1000
        )
        stack.push_async_callback(pool.close)
        listener = await stack.enter_async_context(Listener(settings.session_url(dsn)))
        stores = Stores(pool)
        worker = build_worker(settings, stores, listener, sandbox=sandbox)
        if settings.metrics_port is not None:
            address = settings.metrics_host, settings.metrics_port
            await stack.enter_async_context(serving_metrics(worker, *address))
            on_line(f"metrics: http://{address[0]}:{address[1]}/metrics")
        _stop_on_signals(worker, settings.drain_seconds, on_line)
        on_line(f"worker {worker.id}: {settings.concurrency} slot(s), waiting for jobs")
        monitoring = monitor(
            worker,
            settings.monitor_interval_ms / 1000,
            on_reading or (lambda reading: on_line(reading.line())),
        )
        await WorkerWithRetention(worker, build_retention(settings, stores)).run(monitoring)
        on_line(f"worker {worker.id}: stopped{_handed_back(worker)}")


def _usable(settings: WorkerSettings, sandbox: Sandbox | None) -> str:
    """The database's URL. Raises InputError if a headless worker cannot do what the settings ask for."""
    if settings.database_url is None:
        raise InputError(
            "A worker by itself needs a database.",
            "Set DATABASE_URL to the Postgres that holds the queue.",
        )
    if settings.checks == "docker" and sandbox is None:
        raise InputError(
            "MOBVIBE_CHECKS=docker runs the checks in containers, and this worker cannot start any.",
            "Start it with `mobvibe-tui worker`, which can, or set MOBVIBE_CHECKS=process to run them as"
            " processes of this machine, without a sandbox.",
        )
    return settings.database_url.get_secret_value()


def _handed_back(worker: Worker) -> str:
    jobs = worker.tally.outcomes["handed back"]
    return f", {jobs} job(s) handed back" if jobs else ""


def _stop_on_signals(worker: Worker, drain_seconds: float, on_line: Callable[[str], None]) -> None:
    def finish() -> None:
        if worker.running and drain_seconds:
            on_line("finishing the running jobs; ctrl+c again hands them back at once")
        worker.stop(drain_seconds)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, finish)
    loop.add_signal_handler(signal.SIGTERM, finish)
    loop.add_signal_handler(signal.SIGHUP, worker.stop, 0.0)
