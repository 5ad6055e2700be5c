"""The worker: claims jobs, renews their leases, runs them, and stops without losing one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from mobvibe_worker.errors import StoreError
from mobvibe_worker.jobs import Attempt, Job, JobId, WorkerId
from mobvibe_worker.runner.attempt_end import AttemptBorder
from mobvibe_worker.runner.claiming import RECONNECT_SECONDS, Claimer
from mobvibe_worker.runner.event_buffer import EventBuffer
from mobvibe_worker.runner.lease_renewal import LeaseRenewal
from mobvibe_worker.runner.local_workers import LocalWorkers, ProcessIdentity
from mobvibe_worker.runner.running_job import RunAttempt, RunningJob, WorkerTimings
from mobvibe_worker.runner.tally import Tally
from mobvibe_worker.sanitize import Redactor
from mobvibe_worker.store.connection.listener import Listener

if TYPE_CHECKING:
    from mobvibe_worker.store.stores import Stores

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""How often running jobs are checked for cancellation and lost leases. Renewals are rarer."""
LEAST_PAUSE = 0.25
"""The shortest pause between two reads of what is due, however many notifications arrive."""
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class Worker:
    """Claims as many jobs as it has free slots. Every claim is a lease that it renews until the job ends."""

    stores: Stores
    listener: Listener
    run_attempt: RunAttempt
    timings: WorkerTimings
    redact: Redactor = field(default_factory=lambda: Redactor(()))
    id: WorkerId = field(
        default_factory=lambda: WorkerId(f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
    )
    tally: Tally = field(default_factory=Tally)
    running: dict[JobId, RunningJob] = field(default_factory=dict)
    identity: ProcessIdentity = field(default_factory=ProcessIdentity.own)
    claimer: Claimer = field(init=False)
    leases: LeaseRenewal = field(init=False)
    border: AttemptBorder = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _drain_seconds: float = 0.0

    def __post_init__(self) -> None:
        claims = self.stores.claims
        self.claimer = Claimer(claims, self.id, self.timings, self.running, on_claimed=self._start)
        self.leases = LeaseRenewal(claims, self.id, self.timings.lease, self.running)
        self.border = AttemptBorder(claims, self.redact)

    async def run(self) -> None:
        """Work until `stop`; then finish or hand back what runs."""
        local_workers = LocalWorkers(
            self.stores.claims,
            self.stores.workers,
            self.listener,
            self.id,
            self.identity,
            on_reclaimed=self._count_reclaimed,
        )
        try:
            # Registered before its first claim, so that other workers notice its death from then on.
            await self._report_alive(version("mobvibe-tui"))
            with contextlib.suppress(StoreError):
                await local_workers.reclaim_dead()
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(self._hear_of_jobs(), name="worker-new-jobs"),
                    group.create_task(self._hear_of_changes(), name="worker-cancels"),
                    group.create_task(self._beat(), name="worker-beat"),
                    group.create_task(local_workers.run(), name="worker-local-workers"),
                ]
                claiming = group.create_task(self.claimer.run(), name="worker-claiming")
                await self._watch_the_clock()
                self.claimer.stop()
                await self._drain()
                await self._hand_back_all()
                await asyncio.wait([claiming], timeout=CLOSE_SECONDS)
                for task in (*beside, claiming):
                    task.cancel()
        finally:
            await self._hand_back_all()
            with contextlib.suppress(StoreError):
                if self.claimer.lost.are_suspected:
                    await self.claimer.lost.release()
                await self.stores.workers.gone(self.id)

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Claim no more jobs. Running jobs may finish within `drain_seconds`, then they are handed back.

        A second call hands them back at once.
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

    async def _watch_the_clock(self) -> None:
        """Until `stop`, reclaim jobs that other workers lost, and claim jobs when they become due."""
        while not self._stopping.is_set():
            seconds = await self._reclaim_expired()
            self.claimer.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAST_PAUSE):
                    await self._stopping.wait()
            await self._pause(max(seconds - LEAST_PAUSE, 0.0))

    async def _reclaim_expired(self) -> float:
        """Reclaim lost jobs; returns for how many seconds nothing becomes due."""
        try:
            self._count_reclaimed(len(await self.stores.claims.reclaim()))
            due = await self.stores.claims.next_due_seconds()
        except StoreError as error:
            log.warning("the queue cannot be read: %s", error)
            return RECONNECT_SECONDS
        # Leases that other workers take meanwhile are not in `due`, so look again before they can run out.
        longest = min(self.timings.poll, self.timings.lease / 2)
        if due is None:
            return longest
        soonest = 0.0 if self.claimer.free_slots > 0 else RECONNECT_SECONDS
        return min(longest, max(due, soonest))

    def _start(self, job: Job) -> None:
        now = asyncio.get_running_loop().time()
        attempt = Attempt(job.id, job.attempt, self.id)
        events = EventBuffer(
            self.stores.events,
            job.session_id,
            attempt,
            on_lost=lambda: running.stop("lost"),
            on_refused=lambda error: running.refuse(error),
            redact=self.redact,
            on_stored=self._count_events,
        )
        running = RunningJob(job, attempt, events, began=now, renewed_at=now)
        self.tally.claimed += 1
        if before := self.running.get(job.id):
            before.stop("lost")
        self.running[job.id] = running
        running.task = asyncio.create_task(self._run_one(running))

    async def _run_one(self, running: RunningJob) -> None:
        try:
            await self.border.run(running, self.run_attempt)
        finally:
            self._count_ended(running)
            self.claimer.wake()
            if self._stopping.is_set():
                self._wake.set()

    def _count_ended(self, running: RunningJob) -> None:
        if self.running.get(running.job.id) is running:
            del self.running[running.job.id]
        seconds = asyncio.get_running_loop().time() - running.began
        self.tally.end(running.outcome or "lost", seconds)

    def _count_events(self, rows: int) -> None:
        self.tally.event_rows += rows

    def _count_reclaimed(self, jobs: int) -> None:
        self.tally.reclaimed += jobs

    async def _hear_of_jobs(self) -> None:
        async for _ in self.listener.subscribe("new_job"):
            self.claimer.wake()
            self._wake.set()

    async def _hear_of_changes(self) -> None:
        async for payload in self.listener.subscribe("job_status_changed"):
            if self.running and (not payload or '"cancel_requested"' in payload):
                await self.leases.check()
            self._wake.set()

    async def _beat(self) -> None:
        release = version("mobvibe-tui")
        renew_at = 0.0
        while True:
            now = asyncio.get_running_loop().time()
            if now >= renew_at:
                renew_at = now + self.timings.beat
                # Leases first, because other workers may take them. The heartbeat can wait.
                await self.leases.renew()
                await self._report_alive(release)
            else:
                await self.leases.check()
            await asyncio.sleep(min(CHECK_SECONDS, self.timings.beat))

    async def _report_alive(self, release: str) -> None:
        try:
            await self.stores.workers.beat(
                self.id,
                host=socket.gethostname(),
                pid=self.identity.pid,
                version=release,
                slots=self.timings.concurrency,
                machine_key=self.identity.machine_key,
                process_started=self.identity.started,
            )
        except StoreError as error:
            log.info("no heartbeat: %s", error)

    async def _hand_back_all(self) -> None:
        held = list(self.running.values())
        for running in held:
            running.stop("handed back")
        tasks = [running.task for running in held if running.task]
        await asyncio.gather(*tasks, return_exceptions=True)
        for running in held:
            # A task that is stopped before its first step never reaches the border.
            if self.running.get(running.job.id) is running:
                await self.border.store_stopped(running)
                self._count_ended(running)
