"""Clients of an embedded Postgres, in this process and in processes that tests may kill."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncpg
import psutil

from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.postgres.variant import PostgresAddress
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.polling import Programs

CLIENT = """
import asyncio, sys
from pathlib import Path
import asyncpg
from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
async def main():
    home = Home(Path(sys.argv[1]))
    supervisor = await Supervisor.connect(home)
    address = await EmbeddedPostgres(home, supervisor).start(lambda status: None)
    connection = await asyncpg.connect(address.dsn)
    await connection.execute(sys.argv[2])
    print(supervisor.pid, (await supervisor.running("postgres")).pid, address.port, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def start(home: Home, supervisor: Supervisor, port: int | None = None) -> PostgresAddress:
    return await EmbeddedPostgres(home, supervisor, port=port).start(lambda status: None)


async def ask(address: PostgresAddress, query: str) -> object:
    connection = await asyncpg.connect(address.dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def client_process(
    programs: Programs, home: Home, query: str
) -> tuple[asyncio.subprocess.Process, list[int]]:
    process = await programs.start(
        *(sys.executable, "-c", CLIENT, str(home.root), query), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, [int(word) for word in (await process.stdout.readline()).split()]


def servers_on(home: Home) -> set[int]:
    """The pids of the home's postmaster and its children, which all run in its data folder."""
    found = set()
    for process in psutil.process_iter(["name"]):
        try:
            if (
                process.info["name"].startswith("postgres")
                and Path(process.cwd()) == home.postgres / "data"
            ):
                found.add(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
