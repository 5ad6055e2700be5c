"""The worker: claims jobs, renews their leases, runs them, and stops without losing one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from dataclasses import dataclass, field
from importlib.metadata import version
from uuid import uuid4

from mobvibe_worker.errors import DatabaseUnreachable, MobvibeError, StoreError
from mobvibe_worker.events import ErrorRaised
from mobvibe_worker.jobs import Attempt, Job, JobId, WorkerId
from mobvibe_worker.runner.claiming import Exchange
from mobvibe_worker.runner.lease_renewal import LeaseKeeper
from mobvibe_worker.runner.local_workers import Neighbours
from mobvibe_worker.runner.lost_claims import UnheardClaims
from mobvibe_worker.runner.process_identity import ProcessIdentity
from mobvibe_worker.runner.running_job import Rhythm, RunAttempt, RunningJob
from mobvibe_worker.runner.tally import Tally
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.store.claims import Claims, Finished
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.workers import WorkerRegistry

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often running jobs are looked after: who asked to cancel, which lease is lost. Renewing them is rarer."""
LEAST_PAUSE = 0.25
"""Between two looks at what falls due, however many notifications come."""
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class Worker:
    """Claims as many jobs as it has free slots; every claim is a lease that it renews until the job ends."""

    claims: Claims
    registry: WorkerRegistry
    listener: Listener
    run_attempt: RunAttempt
    rhythm: Rhythm
    id: WorkerId = field(
        default_factory=lambda: WorkerId(f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
    )
    tally: Tally = field(default_factory=Tally)
    running: dict[JobId, RunningJob] = field(default_factory=dict)
    identity: ProcessIdentity = field(default_factory=ProcessIdentity.own)
    exchange: Exchange = field(init=False)
    leases: LeaseKeeper = field(init=False)
    unheard: UnheardClaims = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _drain_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.exchange = Exchange(
            self.claims,
            self.id,
            self.rhythm,
            self.running.__len__,
            self._start,
            self._count_finished,
            lambda: self._count_finished(failed=1),
            lambda: self.unheard.doubt(),
        )
        self.unheard = UnheardClaims(
            self.claims,
            self.id,
            self.rhythm.lease,
            self._known,
            self.exchange.until_traded,
            self.exchange.look,
        )
        self.leases = LeaseKeeper(
            self.claims, self.id, self.rhythm.lease, self.running, self._known
        )

    async def run(self) -> None:
        """Work until `stop`; then finish or hand back what runs."""
        neighbours = Neighbours(
            self.claims, self.registry, self.listener, self.id, self.identity, self._count_reclaimed
        )
        try:
            with contextlib.suppress(StoreError):
                await neighbours.look()
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(self._hear_of_jobs(), name="worker-new-jobs"),
                    group.create_task(self._hear_of_changes(), name="worker-cancels"),
                    group.create_task(self._beat(), name="worker-beat"),
                    group.create_task(neighbours.run(), name="worker-neighbours"),
                    group.create_task(self.unheard.run(), name="worker-unheard"),
                ]
                trading = group.create_task(self.exchange.run(), name="worker-exchange")
                await self._watch_the_clock()
                self.exchange.stop_claiming()
                await self._drain()
                await self._hand_back_all()
                self.exchange.close()
                await asyncio.wait([trading], timeout=CLOSE_SECONDS)
                for task in (*beside, trading):
                    task.cancel()
        finally:
            await self._hand_back_all()
            await self.exchange.store_rest()
            with contextlib.suppress(StoreError):
                await self.unheard.look()
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

    async def _watch_the_clock(self) -> None:
        """Until `stop`: take back what others lost, and see to it that what falls due is claimed."""
        while not self._stopping.is_set():
            seconds = await self._look_ahead()
            self.exchange.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAST_PAUSE):
                    await self._stopping.wait()
            await self._pause(max(seconds - LEAST_PAUSE, 0.0))

    async def _look_ahead(self) -> float:
        """How long nothing need be looked at, in seconds."""
        try:
            self._count_reclaimed(len(await self.claims.reclaim()))
            due = await self.claims.next_due_seconds()
        except StoreError as error:
            log.warning("the queue cannot be read: %s", error)
            return RECONNECT_SECONDS
        # A lease that somebody took meanwhile is seen before it runs out.
        longest = min(self.rhythm.poll, self.rhythm.lease / 2)
        if due is None:
            return longest
        soonest = 0.0 if self.exchange.free_slots > 0 else RECONNECT_SECONDS
        return min(longest, max(due, soonest))

    def _known(self) -> set[Attempt]:
        return {running.attempt for running in self.running.values()} | self.exchange.unstored

    def _start(self, job: Job) -> None:
        now = asyncio.get_running_loop().time()
        attempt = Attempt(job.id, job.attempt, self.id)
        running = RunningJob(job, attempt, renewed_at=now, began=now)
        self.tally.claimed += 1
        if before := self.running.get(job.id):
            before.stop("lost")
        self.running[job.id] = running
        running.task = asyncio.create_task(self._run_one(running))

    async def _run_one(self, running: RunningJob) -> None:
        result = None
        try:
            result = await self.run_attempt(running)
        except asyncio.CancelledError:
            if running.why_stopped is None:
                raise
            await self._end_stopped(running)
        except MobvibeError as error:
            await self._fail(running, error)
        except Exception as error:  # the border: a defect ends one job, not the worker
            log.exception("job %s ended by a defect", running.job.id)
            await self._fail(
                running, MobvibeError(f"An unexpected {type(error).__name__}: {error}")
            )
        finally:
            if self.running.get(running.job.id) is running:
                del self.running[running.job.id]
            if result is None:
                self._count(running)
                self.exchange.slot_is_free()
            else:
                self.exchange.finish(Finished(running.attempt, result))
            if self._stopping.is_set():
                self._wake.set()

    async def _end_stopped(self, running: RunningJob) -> None:
        """Store why an attempt was stopped, unless it did so itself; where that fails, its lease runs out."""
        why = running.why_stopped
        if running.outcome is not None or why is None or why == "lost":
            return
        try:
            if why == "cancelled":
                cancelled = ErrorRaised("Cancelled.", is_cancelled=True)
                await self.claims.finish_cancelled(running.attempt, [cancelled])
            else:
                await self.claims.hand_back(running.attempt)
            running.outcome = why
        except StoreError as error:
            log.warning("job %s: %s", running.job.id, error)

    async def _fail(self, running: RunningJob, error: MobvibeError) -> None:
        # A reason that the database cannot store would leave the job to be run, and paid for, again.
        message, remedy = clean_text(error.message), clean_text(error.remedy)
        while running.why_stopped is None:
            try:
                will_retry = await self.claims.fail(
                    running.attempt,
                    f"{message} {remedy}".strip(),
                    retry=error.is_worth_retrying,
                    events=[ErrorRaised(message, remedy)],
                )
                running.outcome = "retried" if will_retry else "failed"
                return
            except DatabaseUnreachable as away:
                log.warning("job %s: %s", running.job.id, away)
                await asyncio.sleep(RECONNECT_SECONDS)
            except StoreError as refused:
                log.warning("job %s: %s", running.job.id, refused)
                return

    def _count(self, running: RunningJob) -> None:
        """Once for each attempt whose outcome is not the exchange's to store."""
        seconds = asyncio.get_running_loop().time() - running.began
        self.tally.end(running.outcome or "lost", seconds)

    def _count_finished(self, completed: int = 0, lost: int = 0, failed: int = 0) -> None:
        self.tally.outcomes["completed"] += completed
        self.tally.outcomes["lost"] += lost
        self.tally.outcomes["failed"] += failed

    def _count_reclaimed(self, jobs: int) -> None:
        self.tally.reclaimed += jobs

    async def _hear_of_jobs(self) -> None:
        async for _ in self.listener.subscribe("new_job"):
            self.exchange.look()
            self._wake.set()

    async def _hear_of_changes(self) -> None:
        async for payload in self.listener.subscribe("job_status_changed"):
            if self.running and (not payload or '"cancel_requested"' in payload):
                await self.leases.look_after()
            self._wake.set()

    async def _beat(self) -> None:
        release = version("mobvibe-tui")
        renew_at = 0.0
        while True:
            now = asyncio.get_running_loop().time()
            if now >= renew_at:
                renew_at = now + self.rhythm.beat
                # First what others may take away: to be heard of can wait for a neighbour's lock.
                await self.leases.renew()
                await self._say_alive(release)
            else:
                await self.leases.look_after()
            await asyncio.sleep(min(LOOK_SECONDS, self.rhythm.beat))

    async def _say_alive(self, release: str) -> None:
        try:
            await self.registry.beat(
                self.id,
                host=socket.gethostname(),
                pid=self.identity.pid,
                version=release,
                slots=self.rhythm.concurrency,
                host_key=self.identity.host_key,
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
            # A task that is stopped before its first step never comes to the end of _run_one.
            if self.running.get(running.job.id) is running:
                del self.running[running.job.id]
                await self._end_stopped(running)
                self._count(running)
