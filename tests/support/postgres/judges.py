"""Runs external linters on the schema: Supabase's lints, squawk and plpgsql_check."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import asyncpg

from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.npm import run_npm
from support.cache import locked
from support.polling import patient

_LINTER = "@postgres-language-server/cli@0.25.5"
_REPOSITORY = Path(__file__).parents[3]
# Every PL/pgSQL function; a trigger function once for each of its tables.
_CHECK = """
select format('%s on %s, line %s: %s %s', p.oid::regprocedure, t.tgrelid::regclass, c.lineno, c.level, c.message)
  as finding
from pg_proc p
join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
left join pg_trigger t on t.tgfoid = p.oid
cross join lateral plpgsql_check_function_tb(
  p.oid, coalesce(t.tgrelid, 0), oldtable => t.tgoldtable, newtable => t.tgnewtable,
  extra_warnings => true, security_warnings => true
) c
where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
"""


async def run_program(*argv: str, cwd: Path, time_limit: float = 60) -> tuple[int, str]:
    """Run a program. Returns its exit code and all its output."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=allowed_environment({"PATH": os.pathsep.join((*_node_folder(), os.environ["PATH"]))}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), patient(time_limit))
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


def _node_folder() -> list[str]:
    return [str(find_node((18, 0)).executable.parent)]


async def linter() -> Path:
    """The program that runs Supabase's lints, installed from npm into the tests' cache once per machine."""
    with locked("dblint-0.25.5") as folder:
        if not (folder / ".done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            node = find_node((18, 0))
            await run_npm(node, ["install", "--prefix", ".", _LINTER], cwd=folder, time_limit=120)
            (folder / ".done").touch()
    return folder / "node_modules" / ".bin" / "postgres-language-server"


async def dblint(url: str, folder: Path) -> tuple[int, str]:
    """Run Supabase's lints on a database. The exit code is 0 if they find neither errors nor warnings."""
    rules = {"performance": {"unusedIndex": "off"}}  # No index is used in a new database.
    config = folder / "postgres-language-server.jsonc"
    config.touch(mode=0o600)
    config.write_text(
        json.dumps(
            {"db": {"connectionString": url}, "splinter": {"enabled": True, "rules": rules}}
        ),
        encoding="utf-8",
    )
    return await run_program(
        *(str(await linter()), "dblint", f"--config-path={folder}"),
        *("--error-on-warnings", "--max-diagnostics=none"),
        cwd=folder,
    )


async def squawk(*files: Path) -> tuple[int, str]:
    """Run squawk on SQL files, with the exceptions in .squawk.toml."""
    program = Path(sys.executable).with_name("squawk")
    assert program.exists(), "squawk is missing: install the dev group (PyPI squawk-cli)"
    return await run_program(
        *(str(program), "--config", str(_REPOSITORY / ".squawk.toml")),
        *map(str, files),
        cwd=_REPOSITORY,
    )


async def plpgsql_findings(url: str) -> list[str]:
    """Run plpgsql_check on our functions, in a database that has the extension. Returns its findings."""
    connection = await asyncpg.connect(url)
    try:
        return [row["finding"] for row in await connection.fetch(_CHECK)]
    finally:
        await connection.close()
