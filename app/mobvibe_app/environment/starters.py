"""The starters of a home, one per SDK, each prepared only once."""

from __future__ import annotations

import asyncio

from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.node import Node, find_node
from mobvibe_worker.toolchain.sdks import sdk
from mobvibe_worker.toolchain.starter import Starter, StarterProgress


class Starters:
    """Prepares starters on request; `on_status` gets the progress."""

    def __init__(self, home: Home, on_status: OnStatus) -> None:
        self._home = home
        self._on_status = on_status
        self._tasks: dict[int, asyncio.Task[tuple[Starter, Node]]] = {}

    async def get(self, version: int, *, is_fresh: bool = False) -> tuple[Starter, Node]:
        """The prepared starter of an SDK, and its Node. The first call in a home installs it.

        `is_fresh` checks again whether it is installed. Raises InputError for an unknown SDK, ServiceError if Node or
        npm fails.
        """
        task = self._tasks.get(version)
        has_failed = task is not None and task.done() and (task.cancelled() or task.exception())
        if task is None or is_fresh or has_failed:
            task = asyncio.create_task(self._prepare(version), name=f"starter-{version}")
            self._tasks[version] = task
        return await asyncio.shield(task)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _prepare(self, version: int) -> tuple[Starter, Node]:
        wanted = sdk(version)
        node = await asyncio.to_thread(find_node, wanted.minimum_node)
        starter = Starter(self._home, wanted, node)

        def report(progress: StarterProgress) -> None:
            words = f"SDK {version}: {progress.detail or progress.phase}"
            self._on_status(
                ServiceStatus("starter", "downloading", words, progress=progress.fraction)
            )

        if not starter.is_prepared:
            try:
                await starter.prepare(report)
            except MobvibeError as error:
                self._on_status(ServiceStatus("starter", "failed", error.message, error.remedy))
                raise
        self._on_status(ServiceStatus("starter", "healthy", f"SDK {version}"))
        return starter, node
