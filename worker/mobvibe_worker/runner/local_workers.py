"""Watches the other workers of this machine, and reclaims the jobs of one whose process died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import WorkerId
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.workers import LocalWorker, WorkerRegistry

if TYPE_CHECKING:
    from mobvibe_worker.store.claims import Claims

log = logging.getLogger(__name__)

CHANNEL = "worker_changed"
REFRESH_SECONDS = 5.0
POLL_SECONDS = 0.25
"""How often a process is polled if the system cannot report its end."""
RECONNECT_SECONDS = 0.5
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_FIELDS_BEFORE_START = 19
_DEAD_STATES = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process among all that its machine ever ran: pids are reused, pids with a start time are not."""

    machine_key: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        return cls(machine_key(), os.getpid(), _process_state(os.getpid())[0] or "")


@dataclass(slots=True)
class LocalWorkers:
    """Ends the leases of workers whose process is seen dead, and of no others: a silent worker may be alive."""

    claims: Claims
    registry: WorkerRegistry
    listener: Listener
    me: WorkerId
    here: ProcessIdentity
    on_reclaimed: Callable[[int], None]
    _watched: dict[WorkerId, asyncio.Task[None]] = field(default_factory=dict)

    async def reclaim_dead(self) -> None:
        """Reclaim the jobs of this machine's dead workers once. Raises StoreError."""
        for other in await self._others():
            if is_seen_dead(other.pid, other.process_started):
                await self._reclaim(other)

    async def run(self) -> None:
        """Watch the present and future workers of this machine, until cancelled."""
        changes = self.listener.subscribe(CHANNEL)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        await self._watch_all(group)
                    except StoreError as error:
                        log.info("the workers of this machine cannot be read: %s", error)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(REFRESH_SECONDS):
                            if await anext(changes, None) is None:  # the listener is closed
                                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            self._watched.clear()

    async def _others(self) -> list[LocalWorker]:
        found = await self.registry.of_machine(self.here.machine_key)
        own = (self.here.pid, self.here.started)
        return [
            each for each in found if each.id != self.me and (each.pid, each.process_started) != own
        ]

    async def _watch_all(self, group: asyncio.TaskGroup) -> None:
        for other in await self._others():
            if other.id not in self._watched:
                name = f"other-{other.id}"
                task = group.create_task(self._watch(other), name=name)
                self._watched[other.id] = task

    async def _watch(self, other: LocalWorker) -> None:
        try:
            await until_dead(other.pid, other.process_started)
            log.warning("worker %s died; its jobs wait again", other.id)
            while True:
                try:
                    await self._reclaim(other)
                    return
                except StoreError as error:
                    log.warning("the jobs of %s cannot be reclaimed: %s", other.id, error)
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            self._watched.pop(other.id, None)

    async def _reclaim(self, other: LocalWorker) -> None:
        jobs = await self.claims.reclaim_worker(other.id, self.here.machine_key)
        self.on_reclaimed(len(jobs))


async def until_dead(pid: int, started: str) -> None:
    """Return when the process is seen dead, immediately if the system reports it, otherwise at the next poll."""
    with _process_descriptor(pid) as descriptor:
        # Checked after the descriptor is open: from here on the pid cannot belong to another process.
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


def machine_key() -> str:
    """A key that is equal for two processes only if a pid means the same to both, because they share one boot of one
    machine and one pid namespace.
    """
    name = socket.gethostname()
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        return f"{name}:{boot}:{_PID_NAMESPACE.stat().st_ino}"
    except OSError:
        return f"{name}:{uuid.getnode():x}"


def is_seen_dead(pid: int, started: str) -> bool:
    """Whether the process is certainly gone, or its pid belongs to a later one. Unknown counts as alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's process, but it is there
    now, is_ended = _process_state(pid)
    return is_ended or (bool(started) and now is not None and now != started)


def _process_state(pid: int) -> tuple[str | None, bool]:
    """When the process started (None if unknown), and whether it ended and only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _process_state_by_psutil(pid)
    # The program's own name comes before these fields, and may contain blanks and brackets.
    rest = stat.rpartition(")")[2].split()
    return rest[_FIELDS_BEFORE_START], rest[0] in _DEAD_STATES


def _process_state_by_psutil(pid: int) -> tuple[str | None, bool]:
    try:
        process = psutil.Process(pid)
        return f"{process.create_time():.2f}", process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None, False
