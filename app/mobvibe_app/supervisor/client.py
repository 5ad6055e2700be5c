"""A client's handle on the supervisor of a home. A connection is a lease, and starts a supervisor if none runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mobvibe_app.supervisor.place import socket_path, supervisor_log, try_lock
from mobvibe_app.supervisor.protocol import (
    LONGEST_LINE,
    PROTOCOL,
    RunningService,
    ServiceExit,
    ServiceSpec,
    SupervisorStatus,
    decode,
    encode,
)
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.sanitize import clean_text

_CONNECT_SECONDS = 90.0
_HELLO_SECONDS = 10.0
_RETRY_SECONDS = 0.02


class Exits:
    """The ends of services since this was created; iteration stops when the supervisor is lost or left."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[ServiceExit | None] = asyncio.Queue()

    def put(self, exit_: ServiceExit | None) -> None:
        self._queue.put_nowait(exit_)

    def __aiter__(self) -> AsyncIterator[ServiceExit]:
        return self

    async def __anext__(self) -> ServiceExit:
        exit_ = await self._queue.get()
        if exit_ is None:
            self._queue.put_nowait(None)
            raise StopAsyncIteration
        return exit_

    async def end_of(self, name: str) -> ServiceExit | None:
        """Wait for the end of one service; None if the supervisor is lost or left first."""
        async for exit_ in self:
            if exit_.name == name:
                return exit_
        return None


class Supervisor:
    """One lease on a home's supervisor. All services end with the last lease of the home."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int
    ) -> None:
        self.pid = pid
        self.lost = asyncio.Event()
        """Set when the connection ends, also by `close`."""
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exits: weakref.WeakSet[Exits] = weakref.WeakSet()
        self._listening = asyncio.create_task(self._listen(), name="supervisor's answers")

    @classmethod
    async def connect(cls, home: Home) -> Self:
        """A lease on the home's supervisor, which is started if none runs. Raises ServiceError."""
        home.prepare()
        deadline = time.monotonic() + _CONNECT_SECONDS
        while time.monotonic() < deadline:
            if handle := await cls.attach(home):
                return handle
            with try_lock(home.run / "supervisor.spawn") as is_our_turn:
                if is_our_turn:
                    await _spawn(home)
                    continue
            await asyncio.sleep(_RETRY_SECONDS)
        raise _cannot_start(home, "it does not answer")

    @classmethod
    async def attach(cls, home: Home) -> Self | None:
        """A lease on the running supervisor; None if none runs. Raises ServiceError if its version is another."""
        path = socket_path(home)
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LONGEST_LINE)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            return None
        try:
            line = await asyncio.wait_for(reader.readline(), _HELLO_SECONDS)
            hello = decode(line)["hello"] if line else None
        except (ConnectionError, TimeoutError):
            hello = None
        except BaseException:
            writer.close()
            raise
        if hello is None:  # The supervisor is ending.
            writer.close()
            return None
        if hello["protocol"] != PROTOCOL:
            writer.close()
            raise ServiceError(
                "Another version of mobvibe-tui runs on this home.",
                "End it (`mobvibe-tui down` of that version), then try again.",
            )
        return cls(reader, writer, hello["pid"])

    async def start(self, spec: ServiceSpec) -> RunningService:
        """Start a service, or return the one of that name that runs. Raises ServiceError."""
        return RunningService(**await self._ask({"do": "start", "spec": spec.to_data()}))

    async def stop(self, name: str, *, quietly: bool = False) -> None:
        """Stop a service and wait until nothing of it is left. Idempotent.

        `quietly` reports its end to no client, because the caller starts it again at once.
        """
        await self._ask({"do": "stop", "name": name, "quietly": quietly})

    async def status(self) -> SupervisorStatus:
        return _status(await self._ask({"do": "status"}))

    async def running(self, name: str) -> RunningService | None:
        services = (await self.status()).services
        found = next((service for service in services if service.name == name), None)
        return found and replace(found, already=True)

    async def hold(self) -> None:
        """Keep everything running without clients, until `release`."""
        await self._ask({"do": "hold"})

    async def release(self) -> None:
        """End the hold, so that all services end with the last client."""
        await self._ask({"do": "release"})

    async def shutdown(self) -> None:
        """Stop all services, even if other clients use them, and wait until the supervisor has ended."""
        await self._ask({"do": "shutdown"})
        await self.lost.wait()

    def exits(self) -> Exits:
        """The ends of services from now on."""
        exits = Exits()
        if self.lost.is_set():
            exits.put(None)
        self._exits.add(exits)
        return exits

    async def close(self) -> None:
        """Give up the lease. Idempotent."""
        self._writer.close()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._lose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.lost.is_set():
            raise _lost()
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._writer.write(encode({"id": number, **request}))
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self._receive(decode(line))
        except (ConnectionError, json.JSONDecodeError):
            self._writer.close()
        self._lose()

    def _receive(self, message: dict[str, Any]) -> None:
        if "exit" in message:
            for exits in self._exits:
                exits.put(ServiceExit(**message["exit"]))
            return
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(ServiceError(**message["error"]))
        else:
            answer.set_result(message["ok"])

    def _lose(self) -> None:
        self.lost.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_lost())
        for exits in self._exits:
            exits.put(None)


def _status(data: dict[str, Any]) -> SupervisorStatus:
    services = tuple(RunningService(**service) for service in data.pop("services"))
    return SupervisorStatus(services=services, **data)


def _lost() -> ServiceError:
    return ServiceError("The supervisor of the environment ended.", "Start mobvibe-tui again.")


def _cannot_start(home: Home, reason: str) -> ServiceError:
    return ServiceError(
        f"The supervisor of the environment could not start: {reason}.",
        f"See {supervisor_log(home)}, then try again.",
    )


async def _spawn(home: Home) -> None:
    """Start a supervisor, and return when one listens. In a thread, so that cancelling leaves nothing half-done."""
    spawned = await asyncio.to_thread(_run_spawner, home)
    if spawned.returncode:
        reason = clean_text(spawned.stderr.decode(errors="replace"), 2_000).strip()
        raise _cannot_start(home, reason)


def _run_spawner(home: Home) -> subprocess.CompletedProcess[bytes]:
    source = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return subprocess.run(
        [
            *(sys.executable, "-P", "-m", "mobvibe_app.supervisor"),
            *("--home", str(home.root.resolve())),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=allowed_environment(source),
        cwd=Path("/"),
        start_new_session=True,
        check=False,
    )
