"""One chaos run, from an empty server to the final checks."""

from __future__ import annotations

import random
import time
from pathlib import Path

from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.postgres.clusters import OwnCluster, running
from support.postgres.database import new_session
from support.postgres.fake_clock import FakeClock
from support.queue.chaos import Chaos, Pace, Workers
from support.queue.chaos_checks import AUDIT, check_everything

PROJECTS, WORKERS = 12, 3
SETTLE_SECONDS = 90.0


async def run_chaos(programs: Path, folder: Path, pace: Pace) -> str:
    """Run it and return a one-line summary. Raises AssertionError if a job is lost, doubled or out of order."""
    seed = random.randrange(2**32)
    random.seed(seed)
    clocks = FakeClock(folder / "server-clock"), FakeClock(folder / "worker-clock")
    cluster = OwnCluster(programs, folder / "cluster")
    cluster.environment = clocks[0].environment
    async with running(cluster):
        await cluster.run_sql("create database chaos")
        url = cluster.url("chaos")
        await MigrationRunner(url).migrate()
        await cluster.run_sql(AUDIT, "chaos")
        pool = await open_pool(url, size=20, slow_seconds=60)
        workers = Workers(url, folder, clocks[1].environment)
        try:
            sessions = [await new_session(pool, f"App {n}") for n in range(PROJECTS)]
            for _ in range(WORKERS):
                await workers.start()
            chaos = Chaos(cluster, pool, workers, *clocks, sessions, pace)
            await chaos.run()
            await chaos.settle(SETTLE_SECONDS)
            found = await check_everything(chaos)
            ahead = await pool.fetchval("select extract(epoch from clock_timestamp())")
            shift = round(float(ahead) - time.time())
        finally:
            await workers.end()
            await pool.close()
    done = f"seed {seed}: did {dict(chaos.did)}; found {found}"
    return f"{done}; the server's clock is {shift} s ahead; nothing lost, doubled or out of order"
