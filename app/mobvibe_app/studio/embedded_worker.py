"""The worker inside the program: the only importer of the runner."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote, urlsplit

from asyncpg import Pool

from mobvibe_app.settings import AppSettings
from mobvibe_worker.runner.retention import Upkeep
from mobvibe_worker.runner.wiring import build_upkeep, build_worker
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.toolchain.sandbox import Sandbox


class EmbeddedWorker:
    """Runs jobs beside the screens; to the queue it is a worker like any other."""

    def __init__(
        self,
        settings: AppSettings,
        dsn: str,
        pool: Pool,
        listener: Listener,
        sandbox: Sandbox | None,
    ) -> None:
        password = urlsplit(dsn).password
        masked = (dsn, unquote(password)) if password else (dsn,)
        self._worker: Worker = build_worker(settings, pool, listener, masked, sandbox)
        self._upkeep: Upkeep = build_upkeep(settings, pool)

    async def run(self) -> None:
        """Work until `stop`; what runs then is handed back."""
        async with asyncio.TaskGroup() as group:
            upkeep = group.create_task(self._upkeep.run(), name="upkeep")
            await self._worker.run()
            upkeep.cancel()

    def stop(self) -> None:
        """Claim nothing more and hand back what runs."""
        self._worker.stop()
