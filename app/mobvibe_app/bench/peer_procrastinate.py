"""procrastinate, as its documentation says to use it: psycopg's pool, notifications on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from procrastinate import App, PsycopgConnector

from mobvibe_app.bench.contender import Watcher
from mobvibe_app.bench.server import run_sql
from mobvibe_worker.store.connection.pool import connect


@dataclass(slots=True)
class ProcrastinateQueue:
    """procrastinate in an empty database."""

    dsn: str
    app: Any
    task: Any
    watching: Any
    watchers: list[Watcher] = field(default_factory=list)
    name: str = "procrastinate"
    fewest_slots: int = 1

    async def enqueue(self, tag: int) -> None:
        await self.task.defer_async(tag=tag)

    @asynccontextmanager
    async def working(self, slots: int, watcher: Watcher) -> AsyncIterator[None]:
        self.watchers.append(watcher)
        worker = asyncio.create_task(
            self.app.run_worker_async(concurrency=slots, install_signal_handlers=False)
        )
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            self.watchers.clear()

    async def unfinished(self) -> int:
        sql = "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
        return int(await self.watching.fetchval(sql))

    async def clear(self) -> None:
        await run_sql(
            self.dsn,
            "truncate procrastinate_jobs, procrastinate_events cascade",
            "vacuum procrastinate_jobs",
        )


@asynccontextmanager
async def procrastinate_queue(dsn: str) -> AsyncIterator[ProcrastinateQueue]:
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app = App(connector=PsycopgConnector(conninfo=dsn, min_size=2, max_size=20))
    watchers: list[Watcher] = []

    @app.task(name="bench")
    async def run(tag: int) -> None:
        for watcher in watchers:
            watcher.on_start(tag)
            watcher.on_end(tag)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        watching = await connect(dsn, application_name="mobvibe-bench")
        try:
            yield ProcrastinateQueue(dsn, app, run, watching, watchers)
        finally:
            await watching.close()
