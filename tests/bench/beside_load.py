"""Runs the tests beside four busy processes, to find flaky ones: `beside_load.py [ROUNDS] [WHOLE]`.

Runs the widget and store tests ROUNDS times (5), then all tests WHOLE times (2), and stops at the first failed run.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

BUSY = 4
LONGEST_SECONDS = 4 * 3600.0
PATIENCE = "4"
PYTEST = (sys.executable, "-m", "pytest", "-q", "-n", "2")
WIDGETS_AND_STORE = ("-m", "not chaos", "tests/app/ui", "tests/worker/store")


def burn(parent: int) -> None:
    """Keep one CPU busy while the parent process exists, for at most LONGEST_SECONDS."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end and os.getppid() == parent:
        sum(range(1_000_000))


@contextmanager
def busy_processes() -> Iterator[None]:
    """Run BUSY processes that only burn CPU until the end of the block."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=burn, args=(os.getpid(),), daemon=True) for _ in range(BUSY)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def run(name: str, rounds: int, arguments: tuple[str, ...]) -> None:
    """Run the tests `rounds` times. Raises SystemExit at the first failed run."""
    env = {"MOBVIBE_TEST_PATIENCE": PATIENCE, **os.environ}
    for number in range(1, rounds + 1):
        began = time.monotonic()
        code = subprocess.run((*PYTEST, *arguments), env=env, check=False).returncode
        took = time.monotonic() - began
        print(f"{name}, run {number} of {rounds}: exit {code} after {took:.0f} s", flush=True)
        if code:
            raise SystemExit(code)


def main() -> None:
    rounds, whole = [int(each) for each in (*sys.argv[1:], *("5", "2")[len(sys.argv) - 1 :])]
    with busy_processes():
        run("widget and store tests", rounds, WIDGETS_AND_STORE)
        run("all tests", whole, ())


if __name__ == "__main__":
    main()
