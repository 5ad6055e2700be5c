"""Starts a service on the port it had last, or on the next free one, and waits until it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Exits, Supervisor
from mobvibe_app.supervisor.ports import holder_of, is_free, pick_port
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import PortTaken, ServiceError

_ATTEMPTS = 8
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPort:
    """The port that a service wants: `fixed` by the person, else the remembered one, else the first from `lowest` on.

    It is remembered under `key`. Errors call the service `title`.
    """

    choices: Choices
    key: str
    title: str
    lowest: int
    fixed: int | None
    address: str
    is_held_by_service: Callable[[], bool] = lambda: False
    """Whether the service listens on it already, although the supervisor does not run it."""

    def pick(self, rejected: set[int]) -> int:
        """A port that the service can have now, none of `rejected`. Raises ServiceError if the fixed one is taken."""
        is_held_by_service = self.is_held_by_service()
        if self.fixed is None:
            remembered = self.choices.ports()
            preferred = remembered.pop(self.key, self.lowest)
            if is_held_by_service and preferred not in rejected:
                return preferred
            return pick_port(preferred, {*remembered.values(), *rejected}, self.address)
        is_usable = is_held_by_service or is_free(self.fixed, self.address)
        if self.fixed in rejected or not is_usable:
            holder = holder_of(self.fixed) or "another program"
            raise ServiceError(
                f"Port {self.fixed}, set for {self.title}, is taken by {holder}.",
                "End that program, or set another port.",
            )
        return self.fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class PortedService:
    """A service with a port: how it is launched, when it is ready, and what its failure means."""

    supervisor: Supervisor
    name: str
    log: ServiceLog
    port: WantedPort
    launch: Callable[[int, int], Awaitable[RunningService]]
    """(port, size of the log in bytes) -> the started service, which may not be ready yet."""
    is_ready: Callable[[RunningService, int], Awaitable[bool]]
    """(service, size of the log before its start in bytes)."""
    is_port_taken: Callable[[str], bool]
    """Whether what it printed before it ended means that another program was faster."""
    failure: Callable[[str, str], ServiceError]
    """(how it failed, what it printed) -> the error."""
    ready_seconds: float
    is_stopped_when_late: bool = False

    async def start(self) -> RunningService:
        """Start the service, or adopt the one that runs, and wait until it is ready. Raises ServiceError."""
        rejected: set[int] = set()
        for _ in range(_ATTEMPTS):
            exits = self.supervisor.exits()
            running = await self.supervisor.running(self.name)
            port, log_size = running.facts["port"] if running else 0, self.log.size()
            try:
                if running is None:
                    port = await asyncio.to_thread(self.port.pick, rejected)
                    log_size = self.log.rotate()
                    exits = self.supervisor.exits()  # Without the end of an earlier one.
                    running = await self.launch(port, log_size)
                await self._wait_until_ready(running, exits, log_size)
            except PortTaken:
                rejected.add(port)
                continue
            self.port.choices.remember_port(self.port.key, running.facts["port"])
            return running
        raise ServiceError(
            f"No free port was found for {self.port.title}.", "Set one that is free."
        )

    async def _wait_until_ready(self, running: RunningService, exits: Exits, log_size: int) -> None:
        ending = asyncio.create_task(exits.end_of(self.name), name=f"end of {self.name}")
        is_late = False
        try:
            async with asyncio.timeout(self.ready_seconds):
                while not ending.done():
                    if await self.is_ready(running, log_size):
                        return
                    await asyncio.wait((ending,), timeout=_POLL_SECONDS)
        except TimeoutError:
            is_late = True
            if self.is_stopped_when_late:
                await self.supervisor.stop(self.name)
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        if self.supervisor.lost.is_set():
            raise ServiceError("The supervisor of the environment ended.", "Try again.")
        printed = self.log.tail(log_size)
        if is_late:
            raise self.failure("does not become ready", printed)
        if self.is_port_taken(printed):
            raise PortTaken("The port was taken just now.", "Try again.")
        raise self.failure("could not start", printed)
