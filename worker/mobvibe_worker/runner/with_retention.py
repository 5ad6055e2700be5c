"""Runs a worker, and retention beside it, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from mobvibe_worker.runner.retention import Retention
from mobvibe_worker.runner.worker import Worker


@dataclass(frozen=True, slots=True)
class WorkerWithRetention:
    """What each process that works runs, whether it has a dashboard or not."""

    worker: Worker
    retention: Retention

    async def run(self, *others: Coroutine[Any, Any, None]) -> None:
        """Run the worker until `stop`, and retention and the others until then."""
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self.retention.run(), name="retention")]
            beside += [group.create_task(other) for other in others]
            await self.worker.run()
            for task in beside:
                task.cancel()

    def stop(self) -> None:
        """Hand back the running jobs and end."""
        self.worker.stop()
