"""The services that one supervisor runs, each started once and stopped in reverse order."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from mobvibe_app.supervisor.protocol import RunningService, ServiceExit, ServiceSpec
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.processes.guarded import GuardedProcess


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
