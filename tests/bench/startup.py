"""Measures the time from an empty home to the QR code and prints a Markdown table.

Run it with `make bench`, or alone with --home to measure in a prepared home. Only the model's turns are recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.program import Program, run_program
from support.terminal import Terminal

ROUNDS = 5
PROGRAM = (sys.executable, "-m", "mobvibe_app")


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--home", type=Path, help="measure in this home instead of an empty one")
    given = flags.parse_args().home
    with tempfile.TemporaryDirectory(prefix="mobvibe-bench-") as scratch:
        rows = asyncio.run(measure(given or Path(scratch) / "home"))
    print("| what | seconds |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


async def measure(home: Path) -> list[tuple[str, str]]:
    """Measure all rows, in the order in which a new user meets them."""
    rows = [("first paint, empty home", f"{first_paint(home):.2f}")]
    rows.append(("environment ready, first start (initdb, migrations)", await ready(home)))
    later = [float(await ready(home)) for _ in range(ROUNDS)]
    rows.append(("environment ready, later starts", spread(later)))
    rows.append(("first paint, later starts", spread([first_paint(home) for _ in range(ROUNDS)])))
    first = await build(home, "pomodoro", pace="0")
    rows.append(
        ("first project, program start to result (npm install included)", f"{first[0]:.1f}")
    )
    await asyncio.to_thread(warm, home)
    for pace in ("0", "1"):
        built = [await build(home, "pomodoro", pace=pace) for _ in range(3)]
        name = f"next project, pace {pace}"
        rows.append((f"{name}: program start to result", spread([one[0] for one in built])))
        rows.append((f"{name}: prompt to QR (stored events)", spread([one[1] for one in built])))
    rows.extend(await footprint(home))
    return rows


def spread(values: list[float]) -> str:
    """Format the median and the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def first_paint(home: Path) -> float:
    """Seconds from program start to the first drawn text, in a pseudo-terminal."""
    with dashboard(home) as terminal:
        terminal.wait_for("mobvibe", 30)
        return time.monotonic() - terminal.started_at


def dashboard(home: Path) -> Terminal:
    """Start the dashboard at 120x40."""
    return Terminal(PROGRAM, columns=120, rows=40, env={**os.environ, "MOBVIBE_HOME": str(home)})


async def ready(home: Path) -> str:
    """Seconds from the start of `db migrate` to its exit, including the start and stop of Postgres."""
    started = time.monotonic()
    program = await run_program(home, "db", "migrate")
    assert program.process.returncode == 0, program.output
    return f"{time.monotonic() - started:.2f}"


async def build(home: Path, demo: str, *, pace: str) -> tuple[float, float]:
    """Seconds of one run, from program start to result and from the prompt to the last event."""
    started = time.monotonic()
    program = await Program.start(
        home, "run", "--demo", demo, "--json", env={"MOBVIBE_DEMO_PACE": pace}
    )
    assert (await program.result())["status"] == "completed", program.output
    seconds = time.monotonic() - started
    await program.ended()
    times = [datetime.fromisoformat(event["created_at"]) for event in program.events]
    return seconds, (times[-1] - times[0]).total_seconds()


def warm(home: Path) -> None:
    """Leave the dashboard open until it has warmed the cache, as in a person's first minutes."""
    with dashboard(home) as terminal:
        terminal.wait_for("mobvibe", 30)
        marker = home / "sdk-54" / ".warmed.json"
        deadline = time.monotonic() + 600
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.5)


async def footprint(home: Path) -> list[tuple[str, str]]:
    """Memory (unique, MB) of an open dashboard that serves an app, by kind of process, and its connections."""
    with dashboard(home) as terminal:
        await asyncio.to_thread(terminal.wait_for_qr, 60)
        url = (await run_program(home, "db", "url", "--json")).objects[0]["url"]
        connection = await asyncpg.connect(url)
        query = "select count(*) from pg_stat_activity where application_name like 'mobvibe%'"
        connections: Any = await connection.fetchval(query)
        await connection.close()
        kinds: dict[str, Callable[[str], bool]] = {
            "dashboard": lambda line: line.endswith("-m mobvibe_app"),
            "supervisor": lambda line: "environment.supervisor" in line,
            "guards": lambda line: "guard.py" in line,
            "Postgres": lambda line: "postgres" in line and "guard.py" not in line,
            "Metro": lambda line: "expo" in line and "guard.py" not in line,
        }
        memory = dict.fromkeys(kinds, 0.0)
        for process in _family(terminal.process.pid, home):
            line = " ".join(process.cmdline())
            kind = next((kind for kind, matches in kinds.items() if matches(line)), None)
            if kind:
                memory[kind] += process.memory_full_info().uss / 1e6
    rows = [(f"memory of {kind} (MB, unique)", f"{size:.0f}") for kind, size in memory.items()]
    return [*rows, ("connections of one dashboard", str(connections))]


def _family(pid: int, home: Path) -> list[psutil.Process]:
    found = [psutil.Process(pid)]
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(home) in words and process.pid != pid:
            found.extend([process, *process.children(recursive=True)])
    return list({process.pid: process for process in found}.values())


if __name__ == "__main__":
    main()
