"""The worker: claims jobs, renews their leases, runs them, and stops without losing one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Literal
from uuid import uuid4

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import Attempt, Job, JobId, WorkerId
from mobvibe_worker.runner.tally import Outcome, Tally
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.listener import Listener
from mobvibe_worker.store.workers import WorkerRegistry

log = logging.getLogger(__name__)

WhyStopped = Literal["cancelled", "lost", "handed back"]
RECONNECT_SECONDS = 1.0


@dataclass(slots=True)
class RunningJob:
    """One attempt under way. `why_stopped` is set before its task is cancelled."""

    job: Job
    attempt: Attempt
    task: asyncio.Task[None] | None = None
    why_stopped: WhyStopped | None = None
    renewed_at: float = 0.0
    outcome: Outcome | None = None
    """What became of it, once that is stored."""

    def stop(self, why: WhyStopped) -> None:
        """Cancel the attempt's task, once, for one reason."""
        if self.why_stopped is None and self.task is not None:
            self.why_stopped = why
            self.task.cancel()


RunAttempt = Callable[[RunningJob], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often things happen, in seconds, how many jobs run at once, and which."""

    lease: float
    poll: float
    concurrency: int
    recordings_only: bool = False
    """Without a model, jobs that need one are left to other workers."""

    @property
    def beat(self) -> float:
        """Leases are renewed at a quarter of their length."""
        return self.lease / 4


@dataclass(slots=True)
class Worker:
    """Claims as many jobs as it has free slots; every claim is a lease that it renews until the job ends."""

    queue: JobQueue
    registry: WorkerRegistry
    listener: Listener
    run_attempt: RunAttempt
    rhythm: Rhythm
    id: WorkerId = field(
        default_factory=lambda: WorkerId(f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
    )
    tally: Tally = field(default_factory=Tally)
    running: dict[JobId, RunningJob] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _drain_seconds: float = 0.0

    async def run(self) -> None:
        """Work until `stop`; then finish or hand back what runs."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(self._listen("new_job"), name="worker-new-jobs"),
                    group.create_task(self._listen("job_status_changed"), name="worker-cancels"),
                    group.create_task(self._beat(), name="worker-beat"),
                ]
                while not self._stopping.is_set():
                    await self._pause(await self._claim())
                await self._drain()
                for task in beside:
                    task.cancel()
        finally:
            await self._hand_back_all()
            with contextlib.suppress(StoreError):
                await self.registry.gone(self.id)

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Claim nothing more; what runs may finish within `drain_seconds`, then it is handed back.

        A second call hands back at once.
        """
        self._drain_seconds = 0.0 if self._stopping.is_set() else drain_seconds
        self._stopping.set()
        self._wake.set()

    async def _drain(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._drain_seconds
        while self.running and self._drain_seconds > 0:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await self._pause(left)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _claim(self) -> float:
        """Fill the free slots; returns how long nothing need be looked at, in seconds."""
        try:
            self.tally.reclaimed += len(await self.queue.reclaim())
            free = self.rhythm.concurrency - len(self.running)
            if free > 0:
                lease = timedelta(seconds=self.rhythm.lease)
                for job in await self.queue.claim(
                    self.id, free, lease, recordings_only=self.rhythm.recordings_only
                ):
                    self._start(job)
            due = await self.queue.next_due_seconds()
        except StoreError as error:
            log.warning("the queue cannot be read: %s", error)
            return RECONNECT_SECONDS
        return min(self.rhythm.poll, max(due, 0.05)) if due is not None else self.rhythm.poll

    def _start(self, job: Job) -> None:
        now = asyncio.get_running_loop().time()
        running = RunningJob(job, Attempt(job.id, job.attempt, self.id), renewed_at=now)
        self.running[job.id] = running
        running.task = asyncio.create_task(self._run_one(running), name=f"job-{job.id}")

    async def _run_one(self, running: RunningJob) -> None:
        try:
            await self.run_attempt(running)
        except asyncio.CancelledError:
            if running.why_stopped is None:
                raise
        finally:
            del self.running[running.job.id]
            self._wake.set()

    async def _listen(self, channel: str) -> None:
        async for _ in self.listener.subscribe(channel):
            if self.running:
                await self._renew()
            self._wake.set()

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(StoreError):
                await self.registry.beat(
                    self.id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=version("mobvibe-tui"),
                    slots=self.rhythm.concurrency,
                )
            await self._renew()
            await asyncio.sleep(self.rhythm.beat)

    async def _renew(self) -> None:
        held = list(self.running.values())
        if not held:
            return
        now = asyncio.get_running_loop().time()
        try:
            answers = await self.queue.renew(
                self.id,
                [running.attempt for running in held],
                timedelta(seconds=self.rhythm.lease),
            )
        except StoreError as error:
            log.warning("leases cannot be renewed: %s", error)
            for running in held:
                if now - running.renewed_at > self.rhythm.lease:
                    running.stop("lost")
            return
        cancelled = {answer.job_id: answer.cancel_requested for answer in answers}
        for running in held:
            running.renewed_at = now
            if running.job.id not in cancelled:
                running.stop("lost")
            elif cancelled[running.job.id]:
                running.stop("cancelled")

    async def _hand_back_all(self) -> None:
        tasks = []
        for running in list(self.running.values()):
            running.stop("handed back")
            if running.task:
                tasks.append(running.task)
        await asyncio.gather(*tasks, return_exceptions=True)
