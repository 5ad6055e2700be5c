"""The workers of one host watch each other: when a process dies, its jobs wait again at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import WorkerId
from mobvibe_worker.runner.process_identity import ProcessIdentity, is_seen_dead
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.workers import Neighbour, WorkerRegistry

log = logging.getLogger(__name__)

CHANNEL = "worker_changed"
REFRESH_SECONDS = 5.0
POLL_SECONDS = 0.25
"""Where the system cannot tell of a process's end by itself."""
RECONNECT_SECONDS = 0.5


@dataclass(slots=True)
class Neighbours:
    """A lease is cut short only when its worker's process is seen dead; silence alone means nothing."""

    claims: Claims
    registry: WorkerRegistry
    listener: Listener
    me: WorkerId
    here: ProcessIdentity
    on_reclaimed: Callable[[int], None]
    _watched: dict[WorkerId, asyncio.Task[None]] = field(default_factory=dict)

    async def look(self) -> None:
        """Take back what dead workers of this host hold, once. Raises StoreError."""
        for neighbour in await self._others():
            if is_seen_dead(neighbour.pid, neighbour.process_started):
                await self._reclaim(neighbour)

    async def run(self) -> None:
        """Watch whoever is there or comes, until cancelled."""
        changes = self.listener.subscribe(CHANNEL)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        await self._watch_all(group)
                    except StoreError as error:
                        log.info("the neighbours cannot be read: %s", error)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(REFRESH_SECONDS):
                            if await anext(changes, None) is None:  # the listener is closed
                                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            self._watched.clear()

    async def _others(self) -> list[Neighbour]:
        found = await self.registry.neighbours(self.here.host_key)
        own = (self.here.pid, self.here.started)
        return [
            each for each in found if each.id != self.me and (each.pid, each.process_started) != own
        ]

    async def _watch_all(self, group: asyncio.TaskGroup) -> None:
        for neighbour in await self._others():
            if neighbour.id not in self._watched:
                name = f"neighbour-{neighbour.id}"
                task = group.create_task(self._watch(neighbour), name=name)
                self._watched[neighbour.id] = task

    async def _watch(self, neighbour: Neighbour) -> None:
        try:
            await until_dead(neighbour.pid, neighbour.process_started)
            log.warning("worker %s died; its jobs wait again", neighbour.id)
            while True:
                try:
                    await self._reclaim(neighbour)
                    return
                except StoreError as error:
                    log.warning("the jobs of %s cannot be taken back: %s", neighbour.id, error)
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            self._watched.pop(neighbour.id, None)

    async def _reclaim(self, neighbour: Neighbour) -> None:
        jobs = await self.claims.reclaim_worker(neighbour.id, self.here.host_key)
        self.on_reclaimed(len(jobs))


async def until_dead(pid: int, started: str) -> None:
    """Return when the process is seen dead: at once where the system tells, else by looking."""
    with _process_descriptor(pid) as descriptor:
        # Looked at after the descriptor is open: from here on it cannot be another process with that pid.
        if is_seen_dead(pid, started):
            return
        if descriptor is not None:
            await _readable(descriptor)
            return
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if is_seen_dead(pid, started):
            return


@contextmanager
def _process_descriptor(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
