"""Breaks a queue in every way at once: kills servers and workers, cuts connections, shifts clocks, cancels jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
from asyncpg import Pool

from mobvibe_worker.errors import DatabaseUnreachable, InputError
from mobvibe_worker.events import Event
from mobvibe_worker.jobs import JobId, Prompt, SessionId
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from support.polling import patient
from support.postgres.clusters import OwnCluster
from support.postgres.fake_clock import FakeClock

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors that the test's own connections may raise if the server is killed during a call."""
TESTS = Path(__file__).parents[2]
ENQUEUERS = 4
MOST_WAITING = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """The duration of a run, and the mean time between two actions of each kind, in seconds."""

    seconds: float
    enqueue: float = 0.02
    cancel: float = 0.4
    retry: float = 0.4
    kill_worker: float = 1.5
    freeze_worker: float = 2.0
    cut_listeners: float = 1.7
    kill_server: float = 9.0
    shift_clock: float = 4.0
    reconnect: float = 2.5


@dataclass(slots=True)
class Workers:
    """Real worker processes, by name."""

    dsn: str
    folder: Path
    """The folder of their output, one file per worker."""
    environment: Mapping[str, str] = field(default_factory=dict)
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    killed: int = 0

    async def start(self) -> str:
        """Start one more worker and return its name."""
        name = f"worker-{uuid4().hex[:8]}"
        surroundings = {
            "CHAOS_DSN": self.dsn,
            "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)]),
            **self.environment,
        }
        with (self.folder / name).open("wb") as output:
            self.running[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", "-m", "support.queue.chaos_worker", name),
                env=allowed_environment(surroundings),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return name

    def check(self) -> None:
        """Raise AssertionError if a worker exited without being killed."""
        for name, process in self.running.items():
            output = (self.folder / name).read_text(encoding="utf-8", errors="replace")
            assert process.returncode is None, f"a worker exited unexpectedly: {output[-2000:]}"

    async def kill(self, name: str) -> None:
        """Kill a worker with SIGKILL, after checking that it was still running."""
        self.check()
        process = self.running.pop(name)
        process.kill()
        await process.wait()
        self.killed += 1

    async def end(self) -> None:
        """Kill the remaining workers."""
        for process in self.running.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass(slots=True)
class Reader:
    """Follows one session with interruptions, and must see every event once, in order."""

    session: SessionId
    seen: list[Event] = field(default_factory=list)

    async def read(self, pool: Pool, listener: Listener, pace: Pace) -> None:
        """Follow the session until cancelled, reconnecting at random times."""
        while True:
            after = self.seen[-1].seq if self.seen else 0
            with contextlib.suppress(TimeoutError):
                reconnect = random.expovariate(1 / pace.reconnect)
                async with asyncio.timeout(reconnect):  # noqa: TID251 (a pause, not a limit)
                    async for events in EventLog(pool).follow(listener, self.session, after, 1.0):
                        self.seen += events

    async def catch_up(self, pool: Pool) -> None:
        """Read the remaining events."""
        while True:
            after = self.seen[-1].seq if self.seen else 0
            events = await EventLog(pool).read(self.session, after)
            if not events:
                return
            self.seen += events


@dataclass(slots=True)
class Chaos:
    """One chaos run. `did` counts its actions."""

    cluster: OwnCluster
    pool: Pool
    workers: Workers
    server_clock: FakeClock
    worker_clock: FakeClock
    sessions: list[SessionId]
    pace: Pace
    readers: list[Reader] = field(default_factory=list)
    entered: list[JobId] = field(default_factory=list)
    touched: set[UUID] = field(default_factory=set)
    """Jobs that were cancelled or retried, which changes their order."""
    did: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Run all actions at their pace until its duration is over."""
        actions: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            *[(self.pace.enqueue, self._enqueue)] * ENQUEUERS,
            (self.pace.cancel, self._cancel),
            (self.pace.retry, self._retry),
            (self.pace.kill_worker, self._kill_worker),
            *[(self.pace.freeze_worker, self._freeze_worker)] * 2,
            (self.pace.cut_listeners, self._cut_listeners),
            (self.pace.kill_server, self._kill_server),
            (self.pace.shift_clock, self._shift_clocks),
        ]
        self.readers = [Reader(session) for session in self.sessions]
        async with Listener(self.cluster.url("chaos")) as listener, asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._repeat(*action)) for action in actions]
            tasks += [
                group.create_task(reader.read(self.pool, listener, self.pace))
                for reader in self.readers
            ]
            await asyncio.sleep(self.pace.seconds)
            for task in tasks:
                task.cancel()
        if not await self.cluster.answers():  # The run ended between a kill and the restart.
            await self.cluster.stop()
            await self.cluster.start()

    async def _repeat(self, mean: float, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(random.expovariate(1 / mean))
            try:
                await action()
            except (DatabaseUnreachable, InputError, OSError, *LOST) as error:
                self.did[type(error).__name__] += 1

    async def _enqueue(self) -> None:
        session, key = random.choice(self.sessions), str(uuid4())
        queue = JobQueue(self.pool)
        if (await queue.stats()).pending > MOST_WAITING:
            return
        while True:  # Until it is acknowledged; the key makes a repeat the same job.
            try:
                job = await queue.enqueue(session, Prompt("short"), idempotency_key=key)
                break
            except DatabaseUnreachable:
                self.did["enqueued again"] += 1
        self.entered.append(job)

    async def _cancel(self) -> None:
        if self.entered:
            job = random.choice(self.entered[-60:])
            self.touched.add(job)
            await JobQueue(self.pool).cancel(job)
            self.did["cancelled"] += 1

    async def _retry(self) -> None:
        if not self.entered:
            return
        if random.random() < 0.3:
            dead = await JobQueue(self.pool).retry_all_dead()
            self.touched.update(dead)
            self.did["dead ones retried"] += len(dead)
            return
        job = random.choice(sorted(self.touched) or self.entered)
        self.touched.add(job)
        await JobQueue(self.pool).retry(JobId(job))
        self.did["retried"] += 1

    async def _kill_worker(self) -> None:
        await self.workers.kill(random.choice(list(self.workers.running)))
        await self.workers.start()
        self.did["workers killed"] += 1

    async def _freeze_worker(self) -> None:
        """Stop a worker for longer than its lease, then resume it while others may have its jobs."""
        process = self.workers.running[random.choice(list(self.workers.running))]
        try:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(1, 6))
            self.did["workers frozen"] += 1
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)

    async def _cut_listeners(self) -> None:
        cut = await self.pool.fetchval(
            "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name = 'mobvibe-listener' and random() < 0.5"
        )
        self.did["listeners cut"] += cut

    async def _kill_server(self) -> None:
        await self.cluster.kill()
        await self.cluster.start()
        self.did["servers killed"] += 1

    async def _shift_clocks(self) -> None:
        """Shift the server's clock forwards, past the leases, and the workers' clock either way."""
        if self.server_clock.is_available:
            self.server_clock.shift(random.uniform(1, 10))
            self.worker_clock.shift(random.uniform(-300, 300))
            self.did["clocks shifted"] += 1

    async def settle(self, seconds: float) -> None:
        """Retry dead jobs until every job is finished. Raises AssertionError if some never are."""
        deadline = time.monotonic() + patient(seconds)
        queue = JobQueue(self.pool)
        while True:
            try:
                self.touched.update(await queue.retry_all_dead())
                stats = await queue.stats()
                if stats.pending + stats.processing + stats.failed == 0:
                    break
            except (DatabaseUnreachable, asyncpg.PostgresError):
                self.did["errors while settling"] += 1
            self.workers.check()
            assert time.monotonic() < deadline, f"jobs are stuck: {stats}"
            await asyncio.sleep(0.2)
        for reader in self.readers:
            await reader.catch_up(self.pool)
