"""A TCP proxy in front of a server that can cut a connection just before an answer reaches the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536


def _never(answer: bytes) -> bool:
    return False


class CuttingProxy:
    """Forwards all data, but closes the client's connection instead of forwarding an answer that `cuts` selects.

    An answer that `holds` selects is delayed until `may_pass` is set.
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
        """Run the proxy and yield the URL of the same database through it."""
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
            return  # The client has disconnected.
        finally:
            to_client.close()
            # Let the server finish the statement, which it has read completely.
            await asyncio.gather(asking, return_exceptions=True)
            to_server.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(CHUNK):
        target.write(chunk)
        await target.drain()
