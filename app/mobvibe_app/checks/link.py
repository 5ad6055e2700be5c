"""Shares one check container's stdin and stdout among many commands and connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from mobvibe_app.checks.frames import BadFrame, Frame, FrameReader, Kind
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.sanitize import clean_text

_CHUNK = 262_144
_MOST_CHUNKS = 64
"""How far the container's output may run ahead of us."""
_STOP_SECONDS = 10.0
_KILLED = 137


class AttachedStream(Protocol):
    """A container's stdin and stdout. Its calls block."""

    def receive(self, size: int) -> bytes:
        """The next bytes, b"" at the end. Raises OSError."""
        ...

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        ...

    def close(self) -> None:
        """Wake the thread that receives, and close."""
        ...


class Stream:
    """One command or connection in the container: its output, and its exit code once it has ended."""

    def __init__(self, link: Link, number: int) -> None:
        self.pid: int | None = None
        self.stdout = asyncio.StreamReader()
        self.exit_code: int | None = None
        self._link = link
        self._number = number
        self._ended = asyncio.Event()

    async def send(self, kind: Kind, data: bytes = b"") -> None:
        """Send to it. Raises ServiceError if the container is gone."""
        await self._link.send(Frame(self._number, kind, data))

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.exit_code is not None
        return self.exit_code

    async def stop(self) -> int:
        """End it with all that it started or, if that fails, the whole container. Idempotent."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                if self.exit_code is None:
                    with contextlib.suppress(ServiceError):
                        await self.send("end")
                return await self.wait()
        except TimeoutError:
            self._link.drop()
            return await self.wait()

    def take(self, frame: Frame) -> None:
        if frame.kind == "data":
            self.stdout.feed_data(frame.data)
        else:
            code = frame.data[:3]
            self.finish(int(code) if code.isdigit() else _KILLED)

    def finish(self, exit_code: int) -> None:
        """Mark it as ended. Idempotent."""
        if self.exit_code is None:
            self.exit_code = exit_code
            self.stdout.feed_eof()
            self._ended.set()


class Link:
    """The connection to one container. It is up until `close`, or until the container ends."""

    def __init__(self, attached: AttachedStream) -> None:
        self._attached = attached
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._streams: dict[int, Stream] = {}
        self._frames = FrameReader()
        self._sending = asyncio.Lock()
        self._room = threading.Semaphore(_MOST_CHUNKS)
        self._down = asyncio.Event()
        threading.Thread(target=self._receive, name="check container", daemon=True).start()

    @property
    def is_up(self) -> bool:
        return not self._down.is_set()

    @property
    def last_words(self) -> str:
        """What the container last printed to stderr, in one line."""
        return " ".join(clean_text(self._frames.errors.decode(errors="replace")).split())[-300:]

    async def run(self, argv: Sequence[str], files: Mapping[str, str]) -> Stream:
        """Start Node in the container with these arguments, after writing the files (path -> text).

        Raises ServiceError if the container is gone.
        """
        command = json.dumps({"argv": list(argv), "files": dict(files)})
        return await self._open("run", command.encode())

    async def connect(self, port: int) -> Stream:
        """Connect to a port in the container. Raises ServiceError if the container is gone."""
        return await self._open("connect", struct.pack(">H", port))

    async def send(self, frame: Frame) -> None:
        """Send one frame, all of it even if the caller is cancelled. Raises ServiceError if the container is gone."""
        if not await asyncio.shield(asyncio.create_task(self._send(frame))):
            raise self.gone()

    async def _send(self, frame: Frame) -> bool:
        """Whether the frame was sent."""
        async with self._sending:
            try:
                await asyncio.to_thread(self._attached.send, frame.encoded())
            except OSError:
                self.drop()
                return False
            return True

    def drop(self) -> None:
        """Disconnect without waiting. The container ends, with all that runs in it."""
        self._attached.close()

    async def close(self) -> None:
        """Disconnect, and wait until the connection is down. Idempotent."""
        self.drop()
        await self._down.wait()

    async def _open(self, kind: Kind, data: bytes) -> Stream:
        if not self.is_up:
            raise self.gone()
        number = next(self._numbers)
        stream = self._streams[number] = Stream(self, number)
        try:
            await self.send(Frame(number, kind, data))
        except asyncio.CancelledError:
            await stream.stop()
            raise
        return stream

    def gone(self) -> ServiceError:
        """The error once the container has ended."""
        why = f": {self.last_words}" if self.last_words else ""
        return ServiceError(f"The container of the checks has ended{why}.", "Retry the job.")

    def _receive(self) -> None:
        """Runs in a thread, because the engine's streams block."""
        # RuntimeError: the loop is closed because the whole program ends.
        with contextlib.suppress(RuntimeError):
            # OSError: the engine is gone, which ends the container too.
            with contextlib.suppress(OSError):
                while chunk := self._attached.receive(_CHUNK):
                    self._room.acquire()
                    self._loop.call_soon_threadsafe(self._take, chunk)
            self._loop.call_soon_threadsafe(self._end)

    def _take(self, chunk: bytes) -> None:
        self._room.release()
        try:
            frames = self._frames.feed(chunk)
        except BadFrame:
            self.drop()
            return
        for frame in frames:
            stream = self._streams.get(frame.number)
            if stream is None:
                continue
            stream.take(frame)
            if stream.exit_code is not None:
                del self._streams[frame.number]

    def _end(self) -> None:
        self._down.set()
        for stream in self._streams.values():
            stream.finish(_KILLED)
        self._streams.clear()
