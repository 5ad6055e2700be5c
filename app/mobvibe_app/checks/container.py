"""Runs the commands of one staged folder's checks in a container without network, which is replaced if it ends."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from mobvibe_app.checks.link import Link, Stream
from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import EngineUnavailable
from mobvibe_app.containers.spec import PROJECT_PLACE, ContainerSpec, project_container
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.processes.capture import Capture
from mobvibe_worker.processes.guarded import Finished
from mobvibe_worker.toolchain.commands import Argument, InputFile
from mobvibe_worker.toolchain.metro import NODE_FLAGS, WATCH_PROJECT

SERVICE = "check"
MEMORY_BYTES = 2_000_000_000
"""For Metro and the type check at once."""
ENGINE_SECONDS = 60.0
_RETRY_SECONDS = 0.5
_INSIDE = Path(__file__).with_name("inside.cjs")
_LOOPBACK = "127.0.0.1"
_CHUNK = 65_536
_OUTPUT_BYTES = 1_000_000
_PRELOADED = "/tmp/watch_project.cjs"


@dataclass(frozen=True, slots=True)
class CheckImage:
    """The image that checks run in, the engine that has it, and the home that its containers belong to."""

    engine: DockerEngine
    home_id: str
    tag: str


def check_container(image: CheckImage, staged: Path) -> ContainerSpec:
    """The container. It may read the staged folder and use memory of its own, and reaches nothing else."""
    return project_container(
        f"mobvibe-{image.home_id}-{SERVICE}-{staged.name}-{secrets.token_hex(3)}",
        image.tag,
        staged,
        home_id=image.home_id,
        service=SERVICE,
        command=("node", "-e", _INSIDE.read_text(encoding="utf-8")),
        network="none",
        memory_bytes=MEMORY_BYTES,
    )


class ContainerCommands:
    """Runs commands on one staged folder in isolation, until `close`."""

    is_sandboxed = True
    project = PurePosixPath(PROJECT_PLACE)
    modules = PurePosixPath("/srv/node_modules")

    def __init__(self, image: CheckImage, staged: Path) -> None:
        self._engine = image.engine
        self._image = image
        self._staged = staged
        self._opening = asyncio.Lock()
        self._link: Link | None = None
        self._names: list[str] = []
        self._server: asyncio.Server | None = None

    async def open(self) -> Link:
        """The running container; one that ended is replaced. Raises ServiceError."""
        async with self._opening:
            if self._link is None or not self._link.is_up:
                (self._staged / ".expo").mkdir(exist_ok=True)
                spec = check_container(self._image, self._staged)
                is_again = bool(self._names)
                self._names.append(spec.name)
                await self._create(spec, ENGINE_SECONDS if is_again else 0.0)
            assert self._link is not None
            return self._link

    async def _create(self, spec: ContainerSpec, patience: float) -> None:
        """Create a container. For `patience` seconds wait for an engine that is gone, as it may be restarting."""
        deadline = time.monotonic() + patience
        while True:
            creating = asyncio.create_task(asyncio.to_thread(self._engine.attached.open, spec))
            try:
                self._link = Link(await asyncio.shield(creating))
                return
            except EngineUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            except asyncio.CancelledError:
                (created,) = await asyncio.gather(creating, return_exceptions=True)
                if not isinstance(created, BaseException):
                    self._link = Link(created)
                raise

    async def run(self, argv: Sequence[Argument], *, time_limit: float) -> Finished:
        """See CommandRunner. If the container ends during a command, the command runs once more in another one."""
        files: dict[str, str] = {}
        words = [_word(word, files) for word in argv]
        for _ in range(2):
            link = await self.open()
            try:
                finished = await _run(link, words[1:], files, time_limit)
            except ServiceError:
                continue
            if link.is_up:
                return finished
            if finished.timed_out:
                break
        raise link.gone()

    async def port(self) -> int:
        """A port on loopback that leads to the same one inside."""
        if self._server is None:
            self._server = await asyncio.start_server(self._forward, _LOOPBACK, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def serve(self, argv: Sequence[str | PurePath]) -> Stream:
        files = {_PRELOADED: WATCH_PROJECT.read_text(encoding="utf-8")}
        words = (*NODE_FLAGS, "--require", _PRELOADED, *map(str, argv[1:]))
        return await (await self.open()).run(words, files)

    async def close(self) -> None:
        """End the container, and wait until it is gone. Raises ServiceError if the engine is gone."""
        if self._server is not None:
            self._server.close()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        names, self._names = self._names, []
        for name in names:
            await asyncio.to_thread(self._engine.attached.end, name)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection from this machine into the container."""
        try:
            # The client sees what it would see without a container: a connection that ends.
            with contextlib.suppress(ServiceError, ConnectionError):
                if self._link is not None:
                    await _join(reader, writer, await self._link.connect(await self.port()))
        finally:
            writer.close()


async def _run(
    link: Link, words: Sequence[str], files: Mapping[str, str], time_limit: float
) -> Finished:
    started = time.monotonic()
    capture = Capture(_OUTPUT_BYTES)
    stream = await link.run(words, files)
    timed_out = False
    try:
        async with asyncio.timeout(time_limit):
            while chunk := await stream.stdout.read(_CHUNK):
                capture.add(chunk)
    except TimeoutError:
        timed_out = True
    finally:
        code = await stream.stop()
    return Finished(code, capture.text(), time.monotonic() - started, timed_out)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Stream) -> None:
    async def inward() -> None:
        while chunk := await reader.read(_CHUNK):
            await stream.send("data", chunk)
        await stream.send("end")

    sending = asyncio.create_task(inward())
    try:
        while chunk := await stream.stdout.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await stream.stop()


def _word(word: Argument, files: dict[str, str]) -> str:
    if not isinstance(word, InputFile):
        return str(word)
    path = f"/tmp/input-{secrets.token_hex(8)}{word.suffix}"
    files[path] = word.text
    return path
