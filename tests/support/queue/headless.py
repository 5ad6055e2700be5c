"""Runs a headless worker process on a test's database."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from asyncpg import Pool
from prometheus_client.parser import text_string_to_metric_families

from support.polling import patient
from support.program import Program

WAITS = "waiting for jobs"
START_SECONDS = 60.0


@asynccontextmanager
async def worker(
    home: Path, database_url: str, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run `mobvibe-tui worker` until the end of the block, and kill it if it does not stop."""
    given = {"DATABASE_URL": database_url, "MONITOR_INTERVAL_MS": "200", **(env or {})}
    program = await Program.start(home, "worker", *arguments, env=given)
    try:
        deadline = time.monotonic() + patient(START_SECONDS)
        while WAITS not in program.output:
            assert not _has_ended(program) and time.monotonic() < deadline, program.output
            await asyncio.sleep(0.02)
        yield program
        if program.process.returncode is None:
            program.process.send_signal(signal.SIGHUP)
            assert await program.ended(30) in (0, 129), program.output
    finally:
        if program.process.returncode is None:
            await program.kill()


def _has_ended(program: Program) -> bool:
    return program.process.returncode is not None


async def until_row(pool: Pool, sql: str, *arguments: object, seconds: float = 60) -> None:
    """Wait until the query returns a row."""
    deadline = time.monotonic() + patient(seconds)
    while await pool.fetchrow(sql, *arguments) is None:
        assert time.monotonic() < deadline, f"not within {seconds} s: {sql} {arguments}"
        await asyncio.sleep(0.02)


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> dict[str, float]:
    """Read the metrics: `name{label}` -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patient(10)) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f"{{{each}}}" for each in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
