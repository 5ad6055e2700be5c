"""A headless worker as a process, on a test's database."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from asyncpg import Pool

from polling import until
from program import Program

WAITS = "waiting for jobs"


@asynccontextmanager
async def worker(
    home: Path, database_url: str, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """`mobvibe-tui worker` that waits for jobs; ended at the end, by force where need be."""
    given = {"DATABASE_URL": database_url, "MONITOR_INTERVAL_MS": "200", **(env or {})}
    program = await Program.start(home, "worker", *arguments, env=given)
    try:
        await until(lambda: WAITS in program.said or _has_ended(program), 60, "the worker waits")
        assert not _has_ended(program), program.said
        yield program
        if program.process.returncode is None:
            program.process.send_signal(signal.SIGHUP)
            assert await program.ended(30) in (0, 129), program.said
    finally:
        if program.process.returncode is None:
            await program.kill()


def _has_ended(program: Program) -> bool:
    return program.process.returncode is not None


async def until_row(pool: Pool, sql: str, *arguments: object, seconds: float = 60) -> None:
    """Wait until a query has a row."""
    deadline = time.monotonic() + seconds
    while await pool.fetchrow(sql, *arguments) is None:
        assert time.monotonic() < deadline, f"not within {seconds} s: {sql} {arguments}"
        await asyncio.sleep(0.02)
