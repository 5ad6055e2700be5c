"""Starts a guard, and reads its report about the child."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobvibe_worker.errors import ServiceError

SignalName = Literal["INT", "TERM", "QUIT", "KILL", "HUP"]

_GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How a child is ended: `signal` to its group or process, `then` after `grace` seconds, KILL at last."""

    signal: SignalName = "TERM"
    scope: Literal["group", "process"] = "group"
    grace: float = 5.0
    then: SignalName = "KILL"


@dataclass(frozen=True, slots=True)
class Launched:
    """A guard, the write end of its lifeline, and its child's pid."""

    guard: asyncio.subprocess.Process
    lifeline: int
    pid: int


async def launch(
    argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdout: int, stop: StopPolicy
) -> Launched:
    """Start a guard and its child. Raises ServiceError if the program or the folder does not exist."""
    if not cwd.is_dir():
        raise _not_started(argv, f"the folder {cwd} does not exist")
    report, report_end = os.pipe()
    try:
        guard, lifeline = await _start_guard(
            argv, cwd=cwd, env=env, stdout=stdout, stop=stop, report_end=report_end
        )
    except BaseException as error:
        os.close(report)
        if isinstance(error, OSError):
            raise _not_started(argv, error.strerror or str(error)) from error
        raise
    finally:
        os.close(report_end)
    try:
        facts = await asyncio.to_thread(_read_report, report)
    except BaseException:
        os.close(lifeline)
        raise
    if "errno" in facts or "pid" not in facts:
        os.close(lifeline)
        await guard.wait()
        reason = os.strerror(int(facts["errno"])) if "errno" in facts else "its guard failed"
        raise _not_started(argv, reason)
    return Launched(guard, lifeline, int(facts["pid"]))


async def _start_guard(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int,
    stop: StopPolicy,
    report_end: int,
) -> tuple[asyncio.subprocess.Process, int]:
    """Start a guard that writes its report to `report_end`. Returns the guard and its lifeline."""
    command = [sys.executable, "-I", "-S", str(_GUARD), *_options(stop, report_end), "--"]
    stdin, lifeline = os.pipe()
    try:
        guard = await asyncio.create_subprocess_exec(
            *command,
            *map(str, argv),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(env),
            pass_fds=(report_end,),
            start_new_session=True,
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(stdin)
    return guard, lifeline


def send(pid: int, name: SignalName, *, is_group: bool) -> None:
    """Send a signal to a process or a group, which may have ended already."""
    try:
        (os.killpg if is_group else os.kill)(pid, signal.Signals[f"SIG{name}"])
    except (ProcessLookupError, PermissionError):
        return


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _options(policy: StopPolicy, report: int) -> list[str]:
    given = {
        "--signal": policy.signal,
        "--scope": policy.scope,
        "--grace": str(policy.grace),
        "--then": policy.then,
        "--report": str(report),
    }
    return [word for pair in given.items() for word in pair]


def _read_report(fd: int) -> dict[str, str]:
    with os.fdopen(fd) as report:
        return dict(line.split() for line in report if line.strip())


def _not_started(argv: Sequence[str | Path], reason: str) -> ServiceError:
    return ServiceError(
        f"{Path(argv[0]).name} could not be started: {reason}.",
        f"Check that {argv[0]} is installed and can be run.",
    )
