"""The host's part: one client of a home runs its worker and keeps its previews in step with Postgres."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import OnChange, ServiceChanged, TroubleChanged
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.processes.locks import held

if TYPE_CHECKING:
    from mobvibe_app.environment.environment import Environment
    from mobvibe_app.studio.backend import Backend

TAKE_OVER_SECONDS = 0.5


class Hosting:
    """Makes this program its home's host. If the host ends, even by kill -9, another client takes over."""

    def __init__(self, environment: Environment, on_change: OnChange) -> None:
        self._environment = environment
        self._on_change = on_change
        self.is_host = False
        """The home's worker runs in this program."""

    async def run(self, backend: Backend) -> None:
        """Wait until no other client is the host, then do its work until cancelled."""
        self._report(ServiceStatus("worker", "starting"))
        lock = Path(self._environment.settings.home) / "run" / "host.lock"
        elsewhere = ServiceStatus("worker", "healthy", "runs in another mobvibe-tui of this home")
        async with held(lock, lambda: self._report(elsewhere), poll_seconds=TAKE_OVER_SECONDS):
            self.is_host = True
            warming = asyncio.create_task(self._warm())
            try:
                await self._work(backend)
            finally:
                warming.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await warming
                self.is_host = False

    async def _work(self, backend: Backend) -> None:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(backend.worker.run())
            group.create_task(backend.mirror.run())
            group.create_task(backend.reconciler.run())
            self._report(ServiceStatus("worker", "healthy", "waits for jobs"))
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                backend.worker.stop()
                await working
                raise

    async def _warm(self) -> None:
        try:
            await self._environment.previews.warm(self._environment.settings.sdk)
        except (MobvibeError, OSError) as error:
            message, remedy = f"The starter cannot be prepared: {error}.", "Try again."
            if isinstance(error, MobvibeError):
                message, remedy = error.message, error.remedy
            self._report(ServiceStatus("starter", "failed", message, remedy))
            self._on_change(TroubleChanged(message, remedy))

    def _report(self, status: ServiceStatus) -> None:
        self._on_change(ServiceChanged(status))
