"""The worker inside the program; to the queue it is a worker like any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobvibe_worker.runner.retention import Retention
    from mobvibe_worker.runner.worker import Worker


class EmbeddedWorker:
    """Runs jobs, and the retention beside them, while the dashboard is open."""

    def __init__(self, worker: Worker, retention: Retention) -> None:
        self._worker = worker
        self._retention = retention

    async def run(self) -> None:
        """Work until `stop`; running jobs are then handed back to the queue."""
        async with asyncio.TaskGroup() as group:
            retention = group.create_task(self._retention.run(), name="retention")
            await self._worker.run()
            retention.cancel()

    def stop(self) -> None:
        self._worker.stop()
