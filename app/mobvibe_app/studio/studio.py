"""One running mobvibe-tui: its environment, the objects that use the database, and the feeds that show it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from mobvibe_app.preview.status import no_preview_yet
from mobvibe_app.status import ServiceName, ServiceState, ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    DemoSummary,
    OnChange,
    ServiceChanged,
    TroubleChanged,
)
from mobvibe_app.studio.hosting import Hosting
from mobvibe_worker.errors import DiskFull, InputError, MobvibeError, ServiceError, StoppedOnPurpose

if TYPE_CHECKING:
    from mobvibe_app.environment.environment import Environment
    from mobvibe_app.environment.maintenance import Maintenance
    from mobvibe_app.settings import AppSettings
    from mobvibe_app.studio.backend import Backend

    Connect = Callable[[str, Environment], AbstractAsyncContextManager[Backend]]

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0)
"""The pauses before attempts to restart what ended by itself; the last one repeats."""
QUIT = "Quit and start again; everything stored stays."
STEADY_SECONDS = 30.0
"""After running this long, the pauses start over."""


class Studio:
    """What all front ends share. A command opens and closes it; feeds attach to it, and it stays alive for them."""

    def __init__(
        self,
        settings: AppSettings,
        environment: Environment,
        maintenance: Maintenance,
        connect: Connect,
        demos: Sequence[DemoSummary],
    ) -> None:
        self.settings = settings
        self.maintenance = maintenance
        self.demos = demos
        self._environment = environment
        self._connect = connect
        self._stack = AsyncExitStack()
        self._backend: Backend | None = None
        self._dsn = ""
        self._is_lost = False
        self._backend_changed = asyncio.Event()
        self._attached: list[OnChange] = []
        self._statuses: dict[ServiceName, ServiceStatus] = {}
        self._trouble = TroubleChanged(None)
        self._keeping: asyncio.Task[None] | None = None
        self._closing = asyncio.Lock()
        """Held while the studio closes. It opens again only after that."""
        self._hosting = Hosting(environment, self._report)
        self._hosting_task: asyncio.Task[None] | None = None
        self._hosting_ended = asyncio.Event()
        self._wants_to_host = False

    @property
    def backend(self) -> Backend:
        """The objects that use the database. Raises InputError while Postgres is still starting."""
        if self._backend is None:
            raise InputError("Postgres is still starting.", "Try again in a moment.")
        return self._backend

    @property
    def is_open(self) -> bool:
        """Whether Postgres was reached."""
        return self._backend is not None

    @property
    def is_host(self) -> bool:
        """Whether the home's worker runs in this program."""
        return self._hosting.is_host

    async def open(self, on_change: OnChange | None = None, *, as_host: bool = True) -> Backend:
        """Start Postgres, migrate its schema, and become the home's host. Raises MobvibeError if one cannot start."""
        if on_change is not None and on_change not in self._attached:
            self._attached.append(on_change)
        if as_host:
            self.become_host()
        return await self._reconnect()

    async def _reconnect(self) -> Backend:
        """Start Postgres if it does not run. The objects that use it are replaced only if its address has changed."""
        if self._hosting_ended.is_set():
            await self._end_hosting()
        dsn = await self._environment.start(lambda status: self._report(ServiceChanged(status)))
        await self._environment.migrate(dsn)
        if self._backend is None or dsn != self._dsn:
            await self._end_hosting()
            self._backend = None
            await self._stack.aclose()
            self._backend = await self._stack.enter_async_context(
                self._connect(dsn, self._environment)
            )
            self._dsn = dsn
        if self._wants_to_host:
            self.become_host()
        self._change_backend(is_lost=False)
        return self._backend

    def become_host(self) -> None:
        """Become the home's host as soon as Postgres is reached and no other client is the host. Idempotent."""
        if not self.is_open and not self._wants_to_host:
            self._report_status("worker", "waiting", "waits for Postgres")
            self._report(ServiceChanged(no_preview_yet("app")))
        self._wants_to_host = True
        if self._hosting_task is None and self._backend is not None:
            hosting = self._hosting.run(self._backend)
            self._hosting_task = asyncio.create_task(hosting, name="studio-host")
            self._hosting_task.add_done_callback(lambda _: self._hosting_ended.set())

    async def _end_hosting(self) -> None:
        hosting, self._hosting_task = self._hosting_task, None
        if hosting is not None:
            hosting.cancel()
            (ended,) = await asyncio.gather(hosting, return_exceptions=True)
            if isinstance(ended, Exception):
                log.error("the host's part ended: %s", ended, exc_info=ended)
        self._hosting_ended.clear()

    async def lost(self) -> MobvibeError:
        """Wait until the environment or the host's part ends by itself, and return why."""
        gone = asyncio.create_task(self._environment.lost())
        ended = asyncio.create_task(self._hosting_ended.wait())
        try:
            await asyncio.wait({gone, ended}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return gone.result()
            return ServiceError("The worker ended by itself.", "Start mobvibe-tui again.")
        finally:
            gone.cancel()
            ended.cancel()

    async def close(self) -> None:
        """Stop the worker, hand back its jobs, give up the lease on the environment. It can be opened again."""
        async with self._closing:
            await self._close()

    async def _close(self) -> None:
        keeping, self._keeping = self._keeping, None
        await cancel_and_wait(keeping)
        self._wants_to_host = False
        await self._end_hosting()
        self._backend = None
        await self._stack.aclose()
        await self._environment.close()
        self._statuses, self._trouble = {}, TroubleChanged(None)

    def attach(self, on_change: OnChange) -> None:
        """Report every change to `on_change`, beginning with what is known already.

        With the first `attach` the studio opens itself, and it restarts what ends by itself until the last `detach`.
        """
        self._attached.append(on_change)
        for status in self._statuses.values():
            on_change(ServiceChanged(status))
        if self._trouble.message is not None:
            on_change(self._trouble)
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep_alive(), name="studio-keep-alive")

    async def detach(self, on_change: OnChange) -> None:
        """Report no more to `on_change`. When the last one has detached, the studio closes."""
        if on_change in self._attached:
            self._attached.remove(on_change)
        async with self._closing:
            if not self._attached:
                await self._close()

    async def backends(self) -> AsyncIterator[Backend | None]:
        """The objects that use the database, now and after each loss or recovery; None while it is lost."""
        while True:
            changed = self._backend_changed
            yield None if self._is_lost else self._backend
            await changed.wait()

    def is_current(self, backend: Backend) -> bool:
        """Whether these objects are still in use and Postgres is reachable."""
        return not self._is_lost and self._backend is backend

    async def _keep_alive(self) -> None:
        """Open the studio and restart what ends by itself, but never what a person stopped."""
        try:
            async with self._closing:
                pass
            if not await self._open_patiently():
                return
            loop, attempts = asyncio.get_running_loop(), 0
            while True:
                since = loop.time()
                why = await self.lost()
                if loop.time() - since > STEADY_SECONDS:
                    attempts = 0
                self._change_backend(is_lost=True)
                if isinstance(why, StoppedOnPurpose):
                    for name in ("postgres", "worker", "preview"):
                        self._report_status(name, "stopped")
                    self._report(TroubleChanged(why.message, why.remedy))
                    return
                self._report_status("postgres", "starting", why.message)
                attempts = await self._recover(why, attempts)
        except Exception as error:
            log.exception("the studio is no longer kept alive")
            what = f"Something broke ({type(error).__name__}: {error})."
            self._report(TroubleChanged(what, QUIT))

    async def _open_patiently(self) -> bool:
        """Open the studio, repeatedly if another attempt may help; False if it cannot be opened."""
        while True:
            try:
                await self._reconnect()
            except MobvibeError as error:
                self._report(TroubleChanged(error.message, error.remedy))
                if not error.is_worth_retrying:
                    return False
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._report(TroubleChanged(None))
                return True

    async def _recover(self, why: MobvibeError, attempts: int) -> int:
        """Try until everything runs again. Returns how many attempts there were, earlier ones included."""
        while True:
            first = f"{why.remedy} " if isinstance(why, DiskFull) else ""
            self._report(TroubleChanged(why.message, f"{first}It is restarted automatically."))
            await asyncio.sleep(PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS) - 1)])
            attempts += 1
            try:
                await self._reconnect()
            except MobvibeError as error:
                why = error
            else:
                self._report(TroubleChanged(None))
                return attempts

    def _change_backend(self, *, is_lost: bool) -> None:
        self._is_lost = is_lost
        self._backend_changed.set()
        self._backend_changed = asyncio.Event()

    def _report(self, change: Change) -> None:
        if isinstance(change, ServiceChanged):
            self._statuses[change.status.name] = change.status
        elif isinstance(change, TroubleChanged):
            self._trouble = change
        for on_change in tuple(self._attached):
            on_change(change)

    def _report_status(self, name: ServiceName, state: ServiceState, detail: str = "") -> None:
        self._report(ServiceChanged(ServiceStatus(name, state, detail)))


async def cancel_and_wait(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
