"""A Metro of our own on loopback: started on a free port, ready when it answers, gone when we are."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import SdkFolder
from mobvibe_worker.processes.guarded import PIPE, GuardedProcess, StopPolicy
from mobvibe_worker.toolchain.metro import MetroClient, last_words, metro_argv, metro_environment
from mobvibe_worker.toolchain.node import Node

_START_SECONDS = 90.0
_POLL_SECONDS = 0.05
_LOG_CHARACTERS = 20_000


class MetroProcess:
    """One running Metro. Use `start`, or it is not there."""

    def __init__(self, process: GuardedProcess, port: int) -> None:
        self.port = port
        self.client = MetroClient(port)
        self._process = process
        self._log = ""
        self._reading = asyncio.create_task(self._read_log(), name=f"log of Metro on {port}")

    @classmethod
    async def start(
        cls, project: Path, folder: SdkFolder, node: Node, *, niceness: int = 0
    ) -> Self:
        """Start Metro over a project and wait until it answers. Raises ServiceError with its last words."""
        port = free_loopback_port()
        nice = shutil.which("nice") if niceness else None
        prefix = (nice, "-n", str(niceness)) if nice else ()
        process = await GuardedProcess.start(
            (*prefix, *metro_argv(node, folder, port, loopback=True)),
            cwd=project,
            env=metro_environment(node, folder),
            stdout=PIPE,
            stop=StopPolicy(grace=1.0),
        )
        metro = cls(process, port)
        try:
            await metro._until_ready()
        except BaseException:
            await metro.stop()
            raise
        return metro

    @property
    def pid(self) -> int:
        """Its process group's leader."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """It has not ended."""
        return self._process.exit_code is None

    async def stop(self) -> None:
        """End it and everything it started."""
        await self._process.stop()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.client.__aexit__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not await self.client.is_running():
            if not self.is_alive or time.monotonic() > deadline:
                raise ServiceError(
                    f"Metro did not start: {last_words(self._log)}",
                    "Run `mobvibe-tui doctor`, then try again.",
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _read_log(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(65_536):
            self._log = (self._log + chunk.decode(errors="replace"))[-_LOG_CHARACTERS:]


def free_loopback_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
