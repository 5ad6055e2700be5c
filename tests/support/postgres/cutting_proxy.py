"""A TCP proxy in front of a server that cuts a connection in the moment in which the answer is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536


def _never(answer: bytes) -> bool:
    return False


class CuttingProxy:
    """Passes everything on, but an answer for which `cuts` holds: the client's connection ends in its place.

    Answers for which `holds` does are late: they wait for `may_pass`.
    """

    def __init__(
        self, cuts: Callable[[bytes], bool] = _never, holds: Callable[[bytes], bool] = _never
    ) -> None:
        self.cut = 0
        self.held = 0
        self.may_pass = asyncio.Event()
        self._cuts = cuts
        self._holds = holds

    @asynccontextmanager
    async def before(self, dsn: str) -> AsyncIterator[str]:
        """The URL of the same database through the proxy."""
        target = urlsplit(dsn)
        assert target.hostname is not None and target.port is not None
        self._target = target.hostname, target.port
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = target.netloc.rpartition("@")[0]
        try:
            yield urlunsplit(target._replace(netloc=f"{place}@127.0.0.1:{port}"))
        finally:
            server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(*self._target)
        asking = asyncio.create_task(_pass_on(client, to_server))
        try:
            while chunk := await server.read(CHUNK):
                if self._cuts(chunk):
                    self.cut += 1
                    return
                if self._holds(chunk):
                    self.held += 1
                    await self.may_pass.wait()
                to_client.write(chunk)
                await to_client.drain()
        except ConnectionError:
            return  # the client has gone
        finally:
            to_client.close()
            # The server is let finish what it was asked: it has read all of it.
            await asyncio.gather(asking, return_exceptions=True)
            to_server.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(CHUNK):
        target.write(chunk)
        await target.drain()
