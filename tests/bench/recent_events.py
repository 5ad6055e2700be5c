"""Measures how long reading a session's last 50 events takes, with row-level security, among ten million events."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import asyncpg

from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.containers.volumes import Volume, seed_volume, session_at, user_at
from support.postgres.clusters import OwnCluster, embedded_18, running

TARGET_MS = 20.0
_RECENT = "select * from public.session_events where session_id = $1 order by seq desc limit 50"
_CLAIMS = (
    "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)"
)


async def _as_owner(connection: asyncpg.Connection, session: int, user: int) -> int:
    return len(await connection.fetch(_RECENT, session_at(session)))


async def _as_person(connection: asyncpg.Connection, session: int, user: int) -> int:
    async with connection.transaction():
        await connection.execute(_CLAIMS, json.dumps({"sub": str(user_at(user))}))
        return len(await connection.fetch(_RECENT, session_at(session)))


async def measure(volume: Volume, rounds: int) -> bool:
    """Print a table. Returns whether the target is met."""
    with tempfile.TemporaryDirectory(prefix="mobvibe-bench-") as folder:
        settings = {"fsync": "off", "shared_buffers": "512MB", "max_wal_size": "4GB"}
        async with running(OwnCluster(embedded_18(), Path(folder), **settings)) as cluster:
            await MigrationRunner(cluster.url("postgres")).migrate()
            connection = await asyncpg.connect(cluster.url("postgres"))
            started = time.monotonic()
            await seed_volume(connection, volume)
            print(f"{volume.events:,} events seeded in {time.monotonic() - started:.0f} s")
            print(f"{'caller':<24}{'p50 ms':>9}{'p95 ms':>9}{'max ms':>9}")
            p95 = 0.0
            for name, ask in (("owner", _as_owner), ("person, through RLS", _as_person)):
                times = []
                for number in range(rounds + rounds // 10):
                    session = random.randint(1, volume.sessions)
                    user = (session - 1) % volume.users + 1
                    begun = time.perf_counter()
                    assert await ask(connection, session, user) == 50
                    if number >= rounds // 10:
                        times.append((time.perf_counter() - begun) * 1000)
                p95 = statistics.quantiles(times, n=20)[18]
                print(f"{name:<24}{statistics.median(times):>9.2f}{p95:>9.2f}{max(times):>9.2f}")
            await connection.close()
    print(
        f"target: p95 through RLS under {TARGET_MS:.0f} ms: {'met' if p95 < TARGET_MS else 'MISSED'}"
    )
    return p95 < TARGET_MS


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=2_000)
    given = parser.parse_args()
    sizes = Volume(sessions=max(given.events // 100, 1_000), events=given.events)
    raise SystemExit(0 if asyncio.run(measure(sizes, given.rounds)) else 1)
