"""Child processes that never outlive us: started under the guard, stopped with their descendants."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mobvibe_worker.processes.capture import Capture
from mobvibe_worker.processes.launch import Launched, StopPolicy, is_group_alive, launch, send

__all__ = ["DEVNULL", "PIPE", "Finished", "GuardedProcess", "StopPolicy", "run"]

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
_CHUNK = 65_536
_POLL_SECONDS = 0.02
_LAST_OUTPUT_SECONDS = 1.0


class GuardedProcess:
    """A running child. It ends when it is stopped, when this process ends, or by itself."""

    def __init__(self, launched: Launched, stop: StopPolicy) -> None:
        self.pid = launched.pid
        self.stdout: asyncio.StreamReader | None = None
        self._guard = launched.guard
        self._lifeline: int | None = launched.lifeline
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
        try:
            launched = await launch(argv, cwd=cwd, env=env, stdout=target, stop=policy)
        except BaseException:
            if reading is not None:
                os.close(reading)
            raise
        finally:
            if target >= 0:
                os.close(target)
        process = cls(launched, policy)
        if reading is not None:
            await process._read_from(reading)
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
        send(self.pid, self._policy.signal, is_group=self._policy.scope == "group")
        deadline = time.monotonic() + self._policy.grace
        # It is not our own child, so it cannot be waited for, only polled.
        while is_group_alive(self.pid) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        send(self.pid, "KILL", is_group=True)


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
