"""python -m mobvibe_app.supervisor --home DIR: detach, take the home's lock, serve.

The command returns once a supervisor, this one or another, listens. It imports only the standard library, to start
fast.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from mobvibe_app.supervisor.place import socket_path, supervisor_log, try_lock
from mobvibe_app.supervisor.server import Server
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home

_LOCK_SECONDS = 60.0
"""The time in which the previous supervisor has to stop its services."""
_LARGEST_LOG = 1_000_000


def main(arguments: list[str]) -> int:
    """Run a supervisor for `--home DIR` in the background; 1, with the reason on stderr, if it could not start."""
    if len(arguments) != 2 or arguments[0] != "--home":
        print("usage: python -m mobvibe_app.supervisor --home DIR", file=sys.stderr)
        return 2
    home = Home(Path(arguments[1]))
    reading, report = os.pipe()
    if os.fork():
        os.close(report)
        with os.fdopen(reading) as reports:
            outcome = reports.read()
        if outcome != "listening":
            print(outcome or f"see {supervisor_log(home)}", file=sys.stderr)
        return 0 if outcome == "listening" else 1
    os.close(reading)
    return _serve(home, report)


def _serve(home: Home, report: int) -> int:
    os.setsid()
    os.chdir("/")
    try:
        home.prepare()
        _redirect_output(supervisor_log(home))
        path = socket_path(home)
    except ServiceError as error:
        _report(report, str(error))
        return 1
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        with try_lock(home.run / "supervisor.lock") as is_ours:
            if is_ours:
                asyncio.run(_listen(path, report))
                return 0
        if _is_served(path):
            _report(report, "listening")
            return 0
        time.sleep(0.02)
    _report(report, "The previous supervisor does not end.")
    return 1


async def _listen(path: Path, report: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(mask)
    listening.listen(128)
    _report(report, "listening")
    logging.info("supervisor %d listens", os.getpid())
    server = Server()
    await server.serve(listening)
    path.unlink(missing_ok=True)
    await server.finish()
    logging.info("supervisor %d ends", os.getpid())


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _report(report: int, outcome: str) -> None:
    os.write(report, outcome.encode())
    os.close(report)


def _redirect_output(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    null = os.open(os.devnull, os.O_RDONLY)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(null)
    os.close(target)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
