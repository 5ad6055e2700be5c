"""The worker by itself, on any machine that reaches Postgres: `mobvibe-tui worker`, `python -m mobvibe_worker`."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from mobvibe_worker.errors import InputError, StoreError
from mobvibe_worker.home import Home
from mobvibe_worker.runner.assembly import build_worker
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.settings import WorkerSettings
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.listener import Listener
from mobvibe_worker.store.migrations import MigrationRunner
from mobvibe_worker.store.pool import open_pool
from mobvibe_worker.toolchain.sandbox import Sandbox

DRAIN_SECONDS = 600.0


async def run_headless(
    settings: WorkerSettings, say: Callable[[str], None], sandbox: Sandbox | None = None
) -> None:
    """Work until SIGTERM or ctrl+c: the first lets running jobs finish, a second hands them back at once.

    Raises InputError without a database URL, StoreError when it cannot be used.
    """
    if settings.database_url is None:
        raise InputError(
            "A worker by itself needs a database.",
            "Set DATABASE_URL to the Postgres that holds the queue.",
        )
    dsn = settings.database_url.get_secret_value()
    Home(settings.home).prepare()
    await MigrationRunner(dsn).require_current()
    async with AsyncExitStack() as stack:
        pool = await open_pool(
            dsn, application_name="mobvibe-worker", slow_seconds=settings.slow_query_ms / 1000
        )
        stack.push_async_callback(pool.close)
        listener = await stack.enter_async_context(Listener(settings.session_url(dsn)))
        worker = build_worker(settings, pool, listener, sandbox=sandbox)
        _stop_on_signals(worker, say)
        monitor = asyncio.create_task(
            _monitor(worker, JobQueue(pool), settings.monitor_interval_ms / 1000, say)
        )
        stack.callback(monitor.cancel)
        say(f"worker {worker.id}: {settings.concurrency} slot(s), waiting for jobs")
        await worker.run()
        say(f"worker {worker.id}: stopped")


def _stop_on_signals(worker: Worker, say: Callable[[str], None]) -> None:
    def stop() -> None:
        if worker.running:
            say("finishing what runs; once more hands it back at once")
        worker.stop(DRAIN_SECONDS)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


async def _monitor(
    worker: Worker, queue: JobQueue, seconds: float, say: Callable[[str], None]
) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            stats = await queue.stats()
        except StoreError as error:
            logging.getLogger(__name__).warning("no queue stats: %s", error)
            continue
        say(
            f"queue: {stats.pending} waiting, {stats.processing} running ({len(worker.running)} here), "
            f"{stats.completed} completed, {stats.failed} failed, {stats.cancelled} cancelled"
        )
