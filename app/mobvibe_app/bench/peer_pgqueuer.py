"""pgqueuer, as its documentation says to use it: a pool of asyncpg, batches of half its slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from mobvibe_app.bench.contender import Watcher
from mobvibe_app.bench.server import run_sql


@dataclass(slots=True)
class PgQueuerQueue:
    """pgqueuer in an empty database."""

    dsn: str
    pool: Any
    queries: Any
    name: str = "pgqueuer"
    fewest_slots: int = 2

    async def enqueue(self, tag: int) -> None:
        await self.queries.enqueue("bench", str(tag).encode())

    @asynccontextmanager
    async def working(self, slots: int, watcher: Watcher) -> AsyncIterator[None]:
        """Its queue manager, with the largest batch that it allows."""
        program = PgQueuer.from_asyncpg_pool(self.pool)

        @program.entrypoint("bench")
        async def run(job: Job) -> None:
            tag = int(job.payload or b"0")
            watcher.on_start(tag)
            watcher.on_end(tag)

        task = asyncio.create_task(
            program.qm.run(batch_size=max(slots // 2, 1), max_concurrent_tasks=max(slots, 2))
        )
        try:
            yield
        finally:
            program.shutdown.set()
            await task

    async def unfinished(self) -> int:
        """A job that is done has left the table."""
        return int(await self.pool.fetchval("select count(*) from pgqueuer"))

    async def clear(self) -> None:
        await run_sql(
            self.dsn,
            "truncate pgqueuer, pgqueuer_log, pgqueuer_statistics",
            "vacuum pgqueuer",
        )


@asynccontextmanager
async def pgqueuer_queue(dsn: str) -> AsyncIterator[PgQueuerQueue]:
    """pgqueuer's schema, as it installs it."""
    async with asyncpg.create_pool(dsn, min_size=2, max_size=20) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        yield PgQueuerQueue(dsn, pool, queries)
