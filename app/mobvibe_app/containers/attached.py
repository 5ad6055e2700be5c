"""Containers that live only as long as their stdin is held open. All calls block, so use threads."""

from __future__ import annotations

import contextlib
import http
import socket
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import LogConfig

from mobvibe_app.containers.endpoint import knock
from mobvibe_app.containers.failures import translated, unavailable
from mobvibe_app.containers.options import sealed_options
from mobvibe_app.containers.spec import ContainerSpec

_REMOVE_SECONDS = 20


class EngineStream:
    """A container's stdin and stdout, in the engine's multiplexed form."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._socket: socket.socket = getattr(raw, "_sock", raw)
        self._socket.settimeout(None)

    def receive(self, size: int) -> bytes:
        """The next bytes, b"" at the end. Raises OSError. For one thread only; the end closes the socket."""
        chunk = b""
        try:
            chunk = self._socket.recv(size)
            return chunk
        finally:
            if not chunk:
                self.abandon()

    def abandon(self) -> None:
        # The response first: it would flush itself into a closed socket.
        self._raw._response.close()
        self._raw.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        self._socket.sendall(data)

    def close(self) -> None:
        """Wake the thread that receives. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class AttachedContainers:
    """Creates and ends attached containers. The engine removes one when it ends, whatever the cause."""

    def __init__(self, client: docker.DockerClient, address: str) -> None:
        self._client = client
        self._address = address

    def open(self, spec: ContainerSpec) -> EngineStream:
        """Create a container and start it. It ends when the stream does, even if this program is killed with -9.

        Its output is not logged. Raises ServiceError.
        """
        try:
            knock(self._address)
        except OSError as error:
            raise unavailable(self._address, str(error)) from error
        with translated(self._address, f"create {spec.name}", spec.image):
            container = self._client.containers.create(
                spec.image,
                **sealed_options(spec),
                stdin_open=True,
                auto_remove=True,
                log_config=LogConfig(type="none"),
            )
            with contextlib.ExitStack() as undone:
                undone.callback(remove_container, container)
                asked = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                stream = EngineStream(container.attach_socket(params=asked))
                undone.callback(stream.abandon)
                container.start()
                undone.pop_all()
            return stream

    def end(self, name: str) -> None:
        """Kill a container and wait until it is gone. Idempotent. Raises ServiceError."""
        with translated(self._address, f"end {name}"), contextlib.suppress(NotFound):
            remove_container(self._client.containers.get(name))


def remove_container(container: Any) -> None:
    """Kill and remove a container, or wait if the engine is removing it already. Raises APIError."""
    with contextlib.suppress(NotFound):
        try:
            container.remove(force=True, v=True)
        except APIError as error:
            if error.status_code != http.HTTPStatus.CONFLICT:
                raise
            container.wait(timeout=_REMOVE_SECONDS, condition="removed")
