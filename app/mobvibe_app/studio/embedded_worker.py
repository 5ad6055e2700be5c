"""The worker inside the program; to the queue it is a worker like any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobvibe_worker.runner.retention import Upkeep
    from mobvibe_worker.runner.worker import Worker


class EmbeddedWorker:
    """Runs jobs, and the retention beside them, while the dashboard is open."""

    def __init__(self, worker: Worker, upkeep: Upkeep) -> None:
        self._worker = worker
        self._upkeep = upkeep

    async def run(self) -> None:
        """Work until `stop`; running jobs are then handed back to the queue."""
        async with asyncio.TaskGroup() as group:
            upkeep = group.create_task(self._upkeep.run(), name="upkeep")
            await self._worker.run()
            upkeep.cancel()

    def stop(self) -> None:
        """Claim nothing more and hand back what runs."""
        self._worker.stop()
