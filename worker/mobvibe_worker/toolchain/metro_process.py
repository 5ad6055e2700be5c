"""Runs a Metro on a free loopback port, for as long as this process lives."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.toolchain.metro import MetroClient, dev_server, last_words

if TYPE_CHECKING:
    from mobvibe_worker.toolchain.commands import CommandRunner, RunningCommand

_START_SECONDS = 90.0
_POLL_SECONDS = 0.05
_LOG_CHARACTERS = 20_000


class MetroProcess:
    """One running Metro, created by `start`."""

    def __init__(self, process: RunningCommand, port: int) -> None:
        self.port = port
        self.client = MetroClient(port)
        self._process = process
        self._log = ""
        self._reading = asyncio.create_task(self._read_log(), name=f"log of Metro on {port}")

    @classmethod
    async def start(cls, runner: CommandRunner) -> Self:
        """Start Metro on the runner's project and wait until it answers. Raises ServiceError with its last output."""
        port = await runner.port()
        process = await runner.serve(("node", *dev_server(runner.modules, port)))
        metro = cls(process, port)
        try:
            await metro._until_ready()
        except BaseException:
            await metro.stop()
            raise
        return metro

    @property
    def pid(self) -> int | None:
        """The leader of its process group; None if it runs in a container."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.exit_code is None

    async def stop(self) -> None:
        await self._process.stop()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.client.__aexit__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
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
