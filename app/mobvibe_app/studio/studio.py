"""One running mobvibe-tui: its environment, its worker, and who of a home's clients is its host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from mobvibe_app.settings import AppSettings
from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import Change, DemoSummary, ServiceChanged, TroubleChanged
from mobvibe_app.studio.conversations import BuildSession, Order
from mobvibe_app.studio.overview import Overview
from mobvibe_worker.errors import InputError, MobvibeError, ServiceError
from mobvibe_worker.store.stores import Stores

if TYPE_CHECKING:
    from mobvibe_app.environment.environment import Environment
    from mobvibe_app.environment.maintenance import Maintenance
    from mobvibe_app.preview.head_mirror import PreviewHost

log = logging.getLogger(__name__)

TAKE_OVER_SECONDS = 0.5
Tell = Callable[[Change], None]


class WorkerPort(Protocol):
    """What the studio needs of its worker."""

    async def run(self) -> None:
        """Work until stopped."""
        ...

    def stop(self) -> None:
        """Hand back what runs and end."""
        ...


class NoWorker:
    """In a worker's place where jobs are run elsewhere."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Wait until stopped."""
        await self._stopped.wait()

    def stop(self) -> None:
        """End."""
        self._stopped.set()


@dataclass(frozen=True, slots=True)
class View:
    """What one person sees: read through their row-level security, never written."""

    email: str
    overview: Overview
    session: BuildSession


@dataclass(frozen=True, slots=True)
class Connected:
    """What there is once Postgres answers."""

    stores: Stores
    session: BuildSession
    overview: Overview
    preview_host: PreviewHost
    worker: WorkerPort
    see_as: Callable[[str], Awaitable[View]]
    """The view of the person with this email. Raises NotFound."""


Connect = Callable[[str, "Environment"], AbstractAsyncContextManager[Connected]]


class Studio:
    """The handle that both front ends hold: `run` by itself, the dashboard through its feed.

    One client of a home is its host: it runs the worker and keeps the previews in step. When it goes,
    also by kill -9, another one takes over.
    """

    def __init__(
        self,
        settings: AppSettings,
        environment: Environment,
        maintenance: Maintenance,
        connect: Connect,
        demos: Sequence[DemoSummary],
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._maintenance = maintenance
        self._connect = connect
        self._demos = tuple(demos)
        self._stack = AsyncExitStack()
        self._connected: Connected | None = None
        self._dsn = ""
        self._hosting: asyncio.Task[None] | None = None
        self._is_host = False
        self._wants_to_host = False

    @property
    def settings(self) -> AppSettings:
        """The settings of this run."""
        return self._settings

    @property
    def connected(self) -> Connected:
        """What works on Postgres. Raises InputError while it is still starting."""
        if self._connected is None:
            raise InputError("Postgres is still starting.", "Try again in a moment.")
        return self._connected

    @property
    def is_open(self) -> bool:
        """Postgres answers."""
        return self._connected is not None

    @property
    def is_host(self) -> bool:
        """The home's worker runs in this program."""
        return self._is_host

    async def open(self, tell: Tell, *, as_host: bool = True) -> Connected:
        """Bring up Postgres, its schema, and the host's part. Raises MobvibeError where one cannot start."""
        if as_host:
            tell(ServiceChanged(ServiceStatus("worker", "waiting", "waits for Postgres")))
            tell(ServiceChanged(ServiceStatus("preview", "waiting", "starts with the first app")))
        connected = await self._connect_again(tell)
        if as_host:
            self.become_host(tell)
        return connected

    async def reopen(self, tell: Tell) -> Connected:
        """Bring back what `lost` told of; what works on Postgres goes on, or at another address is made anew.

        Again is harmless. Raises MobvibeError where something cannot start.
        """
        if self._hosting is not None and self._hosting.done():
            await self._end_hosting()
        connected = await self._connect_again(tell)
        if self._wants_to_host:
            self.become_host(tell)
        return connected

    async def _connect_again(self, tell: Tell) -> Connected:
        dsn = await self._environment.start(lambda status: tell(ServiceChanged(status)))
        await self._environment.migrate(dsn)
        if self._connected is not None and dsn == self._dsn:
            return self._connected
        await self._end_hosting()
        self._connected = None
        await self._stack.aclose()
        self._connected = await self._stack.enter_async_context(
            self._connect(dsn, self._environment)
        )
        self._dsn = dsn
        return self._connected

    def become_host(self, tell: Tell) -> None:
        """Take the host's part in a studio that was opened without it; again is harmless."""
        self._wants_to_host = True
        if self._hosting is None and self.is_open:
            self._hosting = asyncio.create_task(self._host(tell), name="studio-host")

    async def close(self) -> None:
        """Stop the worker, hand back its jobs, give up the lease on the environment."""
        await self._end_hosting()
        await self._stack.aclose()
        await self._environment.close()

    async def _end_hosting(self) -> None:
        hosting, self._hosting = self._hosting, None
        if hosting is not None:
            hosting.cancel()
            (ended,) = await asyncio.gather(hosting, return_exceptions=True)
            if isinstance(ended, Exception):
                log.error("the host's part ended: %s", ended, exc_info=ended)

    async def lost(self) -> MobvibeError:
        """Wait until the environment or the host's part ends by itself; returns why."""
        gone = asyncio.create_task(self._environment.lost())
        watched: set[asyncio.Task[Any]] = {gone}
        if self._hosting is not None:
            watched.add(self._hosting)
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return gone.result()
            return ServiceError("The worker ended by itself.", "Start mobvibe-tui again.")
        finally:
            gone.cancel()

    @property
    def care(self) -> Maintenance:
        """Restarts and rebuilds single services of the environment."""
        return self._maintenance

    def demos(self) -> Sequence[DemoSummary]:
        """The recordings that can be replayed."""
        return self._demos

    def demo_order(self, name: str) -> Order:
        """The order that replays a recording. Raises InputError for an unknown one."""
        for demo in self._demos:
            if demo.name == name:
                return Order(
                    prompt=demo.prompt,
                    recording=demo.name,
                    changes=demo.changes,
                    sdk=self._settings.sdk,
                )
        known = ", ".join(demo.name for demo in self._demos)
        raise InputError(f"There is no demo {name!r}.", f"There are: {known}.")

    async def _host(self, tell: Tell) -> None:
        """Become the home's host as soon as nobody else is."""
        lock = FileLock(Path(self._settings.home) / "run" / "host.lock")
        tell(ServiceChanged(ServiceStatus("worker", "starting")))
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                elsewhere = "runs in another mobvibe-tui of this home"
                tell(ServiceChanged(ServiceStatus("worker", "healthy", elsewhere)))
                await asyncio.sleep(TAKE_OVER_SECONDS)
        self._is_host = True
        connected = self.connected
        preparing = asyncio.create_task(self._prepare(tell))
        try:
            async with asyncio.TaskGroup() as group:
                working = group.create_task(connected.worker.run())
                group.create_task(connected.preview_host.mirror())
                tell(ServiceChanged(ServiceStatus("worker", "healthy", "waits for jobs")))
                try:
                    await asyncio.shield(working)
                except asyncio.CancelledError:
                    connected.worker.stop()
                    await working
                    raise
        finally:
            preparing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await preparing
            self._is_host = False
            lock.release()

    async def _prepare(self, tell: Tell) -> None:
        """The starter and its warm cache, behind everything else."""
        try:
            await self._environment.warm(self._settings.sdk)
        except MobvibeError as error:
            tell(ServiceChanged(ServiceStatus("starter", "failed", error.message, error.remedy)))
            tell(TroubleChanged(error.message, error.remedy))


def no_model(demos: Sequence[DemoSummary]) -> InputError:
    """Why free text is refused without a key, and what works instead."""
    names = ", ".join(demo.name for demo in demos)
    return InputError(
        "Free text needs a model: ANTHROPIC_API_KEY is not set.",
        f"Set it, or replay a recorded build, no key and no cost: {names}.",
    )
