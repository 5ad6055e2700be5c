"""A socket of the engine that lets programs connect but answers none of them before it is released."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mobvibe_app.containers.engine import DockerEngine

_CHUNK = 65_536


class HeldEngine:
    """An address of the engine where each request waits for `release`."""

    def __init__(self, listening: socket.socket, path: Path, target: str) -> None:
        self.address = f"unix://{path}"
        self._listening = listening
        self._target = target
        self._server: asyncio.Server | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a program has connected."""
        return bool(select.select([self._listening], [], [], 0)[0])

    async def release(self) -> None:
        """Forward everything from now on, beginning with what waits."""
        self._server = await asyncio.start_unix_server(self._forward, sock=self._listening)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_unix_connection(self._target)
        try:
            await asyncio.gather(_pass_on(reader, requests), _pass_on(answers, writer))
        finally:
            requests.close()
            writer.close()


@asynccontextmanager
async def held_engine(engine: DockerEngine, path: Path) -> AsyncIterator[HeldEngine]:
    """The engine at another address, the socket `path`."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        held = HeldEngine(listening, path, urlsplit(engine.address).path)
        try:
            yield held
        finally:
            held.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    # A program that has ended reads no more answers.
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
    target.close()
