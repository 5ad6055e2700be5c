"""The supervisor itself: every connection is a lease, and all services end with the last one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

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
from mobvibe_worker.errors import MobvibeError, ServiceError
from mobvibe_worker.processes.guarded import GuardedProcess

_FIRST_CLIENT_SECONDS = 15.0


class Server:
    """Serves one listening socket until no lease is left."""

    def __init__(self) -> None:
        self._services = RunningServices(self._report_exit)
        self._clients: set[asyncio.StreamWriter] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._is_held = False
        self._over = asyncio.Event()
        self._log = logging.getLogger("supervisor")

    async def serve(self, listening: socket.socket) -> None:
        """Serve until the last lease is gone, a client asks for `shutdown`, or SIGTERM comes."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        server = await asyncio.start_unix_server(
            self._serve_client, sock=listening, limit=LONGEST_LINE, backlog=128
        )
        unused = loop.call_later(_FIRST_CLIENT_SECONDS, self._end_if_unused)
        await self._over.wait()
        unused.cancel()
        server.close()

    async def finish(self) -> None:
        """Stop all services, then close the connections, which answers the clients' `shutdown`."""
        if self._answers:
            await asyncio.wait(self._answers)
        await self._services.stop_all()
        for writer in tuple(self._clients):
            writer.close()

    def _end_if_unused(self) -> None:
        if not self._clients and not self._is_held:
            self._over.set()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._over.is_set():
            # Without a hello the client knows that it has to start another supervisor.
            writer.close()
            return
        self._clients.add(writer)
        self._log.info("a client came, %d now", len(self._clients))
        writer.write(encode({"hello": {"protocol": PROTOCOL, "pid": os.getpid()}}))
        try:
            while line := await reader.readline():
                answer = asyncio.create_task(self._answer(line, writer))
                self._answers.add(answer)
                answer.add_done_callback(self._answers.discard)
        except (ConnectionError, ValueError) as error:  # ValueError: a line that never ends
            self._log.warning("a client was dropped: %s", error)
        finally:
            self._clients.discard(writer)
            writer.close()
            self._log.info("a client went, %d now", len(self._clients))
            self._end_if_unused()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        reply: dict[str, Any] = {"id": None}
        try:
            request = decode(line)
            reply["id"] = request["id"]
            reply["ok"] = await self._do(request)
        except MobvibeError as error:
            reply["error"] = {"message": error.message, "remedy": error.remedy}
        except (KeyError, TypeError, ValueError) as error:
            reply["error"] = {
                "message": f"The request was not understood: {error!r}.",
                "remedy": "",
            }
        if not writer.is_closing():
            writer.write(encode(reply))

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "start":
                if self._over.is_set():
                    raise ServiceError("The environment is being stopped.", "Try again.")
                return asdict(await self._services.start(ServiceSpec.from_data(request["spec"])))
            case "stop":
                await self._services.stop(request["name"], quietly=request.get("quietly", False))
            case "hold":
                self._is_held = True
            case "release":
                self._is_held = False
            case "shutdown":
                self._over.set()
            case "status":
                pass
            case unknown:
                raise ValueError(unknown)
        return asdict(self._status())

    def _status(self) -> SupervisorStatus:
        return SupervisorStatus(
            os.getpid(), self._services.running(), len(self._clients), self._is_held
        )

    def _report_exit(self, exit_: ServiceExit) -> None:
        self._log.info("%s ended with %d, asked: %s", *asdict(exit_).values())
        for writer in self._clients:
            if not writer.is_closing():
                writer.write(encode({"exit": asdict(exit_)}))


@dataclass(slots=True)
class _Service:
    running: RunningService
    process: GuardedProcess
    was_asked: bool = False
    is_quiet: bool = False
    ending: asyncio.Task[None] | None = None


class RunningServices:
    """Services by name. `on_exit` is called at every end."""

    def __init__(self, on_exit: Callable[[ServiceExit], None]) -> None:
        self._on_exit = on_exit
        self._services: dict[str, _Service] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def running(self) -> tuple[RunningService, ...]:
        return tuple(service.running for service in self._services.values())

    async def start(self, spec: ServiceSpec) -> RunningService:
        """Start a service, or return the one of that name that runs. Raises ServiceError."""
        async with self._locks[spec.name]:
            present = self._services.get(spec.name)
            if present and present.process.exit_code is None:
                return replace(present.running, already=True)
            if present and present.ending:
                await present.ending
            return await self._start(spec)

    async def _start(self, spec: ServiceSpec) -> RunningService:
        try:
            process = await GuardedProcess.start(
                spec.argv, cwd=spec.cwd, env=spec.env, stdout=spec.log, stop=spec.stop
            )
        except OSError as error:
            raise ServiceError(
                f"{spec.name} could not be started: {error.strerror or error}.",
                f"Check that {spec.log} can be written.",
            ) from error
        running = RunningService(spec.name, process.pid, spec.facts, time.time())
        service = _Service(running, process)
        self._services[spec.name] = service
        service.ending = asyncio.create_task(self._watch(service), name=f"{spec.name} ends")
        return running

    async def _watch(self, service: _Service) -> None:
        code = await service.process.wait()
        del self._services[service.running.name]
        if not service.is_quiet:
            self._on_exit(ServiceExit(service.running.name, code, service.was_asked))

    async def stop(self, name: str, *, quietly: bool = False) -> None:
        """Stop a service and wait until nothing of it is left. Idempotent.

        `quietly` reports its end to no client, because the caller starts it again at once.
        """
        async with self._locks[name]:
            service = self._services.get(name)
            if service is None or service.ending is None:
                return
            service.was_asked, service.is_quiet = True, quietly
            service.process.ask_to_stop()
            await service.ending

    async def stop_all(self) -> None:
        """Stop every service, the last one started first."""
        for name in reversed(tuple(self._services)):
            await self.stop(name)
