"""Child processes that never outlive us: started under the guard, stopped with their descendants."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.processes.capture import Capture

SignalName = Literal["INT", "TERM", "QUIT", "KILL", "HUP"]

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
_GUARD = Path(__file__).with_name("guard.py")
_CHUNK = 65_536
_POLL_SECONDS = 0.02
_LAST_OUTPUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How a child is ended: `signal` to its group or process, `then` after `grace` seconds, KILL at last."""

    signal: SignalName = "TERM"
    scope: Literal["group", "process"] = "group"
    grace: float = 5.0
    then: SignalName = "KILL"


class GuardedProcess:
    """A running child. It ends when it is stopped, when this process ends, or by itself."""

    def __init__(
        self, guard: asyncio.subprocess.Process, lifeline: int, pid: int, stop: StopPolicy
    ) -> None:
        self.pid = pid
        self.stdout: asyncio.StreamReader | None = None
        self._guard = guard
        self._lifeline: int | None = lifeline
        self._policy = stop
        self._output: asyncio.BaseTransport | None = None
        self._ending = asyncio.create_task(self._end(), name=f"guard of {self.pid}")

    @classmethod
    async def start(
        cls,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: Path | int = DEVNULL,
        stop: StopPolicy | None = None,
    ) -> Self:
        """Start `argv` in `cwd` with exactly `env`, an empty stdin, and stderr joined to stdout.

        `stdout` is a file to append to (created with mode 0600), PIPE (read it from `.stdout`) or DEVNULL.
        Raises ServiceError if the program or the folder does not exist.
        """
        policy = stop or StopPolicy()
        reading: int | None = None
        if isinstance(stdout, Path):
            target = os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        elif stdout == PIPE:
            reading, target = os.pipe()
        else:
            target = stdout
        starting = asyncio.create_task(
            cls._start(argv, cwd=cwd, env=env, stdout=target, reading=reading, stop=policy)
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.create_task(_end_unwanted(starting)))
            raise

    @classmethod
    async def _start(
        cls,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: int,
        reading: int | None,
        stop: StopPolicy,
    ) -> Self:
        """Start the child with `stdout`, which is closed here. `reading` is the other end if that is a pipe."""
        try:
            launched = await _launch(argv, cwd=cwd, env=env, stdout=stdout, stop=stop)
        except BaseException:
            if reading is not None:
                os.close(reading)
            raise
        finally:
            if stdout >= 0:
                os.close(stdout)
        process = cls(*launched, stop)
        try:
            if reading is not None:
                await process._read_from(reading)
        except BaseException:
            process.ask_to_stop()
            raise
        return process

    async def _read_from(self, reading: int) -> None:
        self.stdout = reader = asyncio.StreamReader()
        pipe = os.fdopen(reading, "rb", buffering=0)
        self._output, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )

    @property
    def exit_code(self) -> int | None:
        """The child's exit code, 128+n if signal n ended it; None while it runs."""
        code = self._guard.returncode
        return code if code is None or code >= 0 else 128 - code

    async def wait(self) -> int:
        """Wait until the child and its descendants have ended; returns the child's exit code."""
        return await asyncio.shield(self._ending)

    def ask_to_stop(self) -> None:
        """Begin to end the child by its stop policy, without waiting."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def stop(self) -> int:
        """End the child and its descendants, and wait for them; returns the exit code. Idempotent."""
        self.ask_to_stop()
        try:
            return await self.wait()
        finally:
            if self._output is not None:
                self._output.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _end(self) -> int:
        code = await self._guard.wait()
        self.ask_to_stop()
        if code < 0:
            await self._end_without_guard()
        return code if code >= 0 else 128 - code

    async def _end_without_guard(self) -> None:
        _send(self.pid, self._policy.signal, is_group=self._policy.scope == "group")
        deadline = time.monotonic() + self._policy.grace
        # It is not our own child, so it cannot be waited for, only polled.
        while _is_group_alive(self.pid) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        _send(self.pid, "KILL", is_group=True)


async def _end_unwanted(starting: asyncio.Task[GuardedProcess]) -> None:
    """End a child whose start was cancelled, once it has started."""
    await asyncio.wait({starting})
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().stop()


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: exit code (128+n after signal n), stdout and stderr as one text, wall-clock seconds."""

    exit_code: int
    output: str
    seconds: float
    timed_out: bool = False


async def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    time_limit: float,
    output_limit: int = 1_000_000,
    stop: StopPolicy | None = None,
) -> Finished:
    """Run a command until it ends. It is stopped after `time_limit` seconds, and when the caller is cancelled.

    Output longer than `output_limit` bytes is cut in the middle; control characters are not removed.
    Raises ServiceError if the program does not exist. A failing command is not an error, see `exit_code`.
    """
    started = time.monotonic()
    capture = Capture(output_limit)
    process = await GuardedProcess.start(
        argv, cwd=cwd, env=env, stdout=PIPE, stop=stop or StopPolicy(grace=2.0)
    )
    async with process:
        reading = asyncio.create_task(_drain(process, capture))
        ending = asyncio.create_task(process.wait())
        try:
            await asyncio.wait((ending,), timeout=time_limit)
            timed_out = not ending.done()
            if timed_out:
                process.ask_to_stop()
            code = await ending
            await asyncio.wait((reading,), timeout=_LAST_OUTPUT_SECONDS)
        finally:
            reading.cancel()
            ending.cancel()
            await asyncio.gather(reading, ending, return_exceptions=True)
    return Finished(code, capture.text(), time.monotonic() - started, timed_out)


async def _drain(process: GuardedProcess, capture: Capture) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(_CHUNK):
        capture.add(chunk)


async def _launch(
    argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdout: int, stop: StopPolicy
) -> tuple[asyncio.subprocess.Process, int, int]:
    """Start a guard and its child. Returns the guard, the write end of its lifeline, and the child's pid.

    Raises ServiceError if the program or the folder does not exist.
    """
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
    return guard, lifeline, int(facts["pid"])


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


def _send(pid: int, name: SignalName, *, is_group: bool) -> None:
    """Send a signal to a process or a group, which may have ended already."""
    try:
        (os.killpg if is_group else os.kill)(pid, signal.Signals[f"SIG{name}"])
    except (ProcessLookupError, PermissionError):
        return


def _is_group_alive(group: int) -> bool:
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
