"""The scenarios of `bench queue`. Each measures one thing that is done to a queue."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from mobvibe_app.bench.contender import Contender
from mobvibe_app.bench.figures import Figures, quantile
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.jobs import Attempt, Prompt, WorkerId
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.job_queue import JobQueue

if TYPE_CHECKING:
    from mobvibe_app.bench.ours import OwnQueue

PICKUP_PAUSE = 0.01
_WATCH_SECONDS = 0.002
_STUCK_SECONDS = 120.0
_BEHIND = """
insert into public.coding_jobs (session_id, prompt, priority, run_at)
select ($1::uuid[])[1 + n % cardinality($1::uuid[])], 'later', 9, now() + interval '1 day'
from generate_series(1, $2::integer) as n
"""
_CLAIM = """
explain (analyze, timing off, format json)
select * from public.claim_jobs('bench', 1, interval '5 minutes')
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of each scenario."""

    rounds: int
    singles: int
    slots: tuple[int, ...]
    pickups: int
    jobs: int
    deferred: int
    claims: int
    history: int

    @property
    def projects(self) -> int:
        """Enough projects that no job waits for another one of its project."""
        return max(self.singles, self.pickups, self.jobs, 4 * self.claims)


FULL = Scale(
    rounds=3,
    singles=1000,
    slots=(1, 10),
    pickups=600,
    jobs=1000,
    deferred=50_000,
    claims=300,
    history=1_000_000,
)
QUICK = Scale(
    rounds=1,
    singles=20,
    slots=(10,),
    pickups=20,
    jobs=50,
    deferred=200,
    claims=10,
    history=1000,
)


class StartsAndEnds:
    """Notes when each job starts, and waits until a number of jobs has started or one has ended."""

    def __init__(self, expected: int) -> None:
        self.started: dict[int, float] = {}
        self.all_started = asyncio.Event()
        self.ended = asyncio.Event()
        self._expected = expected

    def on_start(self, tag: int) -> None:
        self.started[tag] = time.perf_counter()
        if len(self.started) >= self._expected:
            self.all_started.set()

    def on_end(self, tag: int) -> None:
        self.ended.set()


async def time_enqueueing(queue: Contender, scale: Scale, figures: Figures) -> None:
    """Measure enqueueing one by one, as prompts arrive."""
    await queue.clear()
    started = time.perf_counter()
    for tag in range(scale.singles):
        await queue.enqueue(tag)
    rate = scale.singles / (time.perf_counter() - started)
    figures.add("enqueue one by one", queue.name, "jobs/s", rate)


async def time_pickup(
    queue: Contender, slots: int, scale: Scale, figures: Figures, system: str = ""
) -> None:
    """Measure from the call that enqueues to the job's start, in one process.

    The worker is idle, because each job is enqueued a moment after the previous one ended.
    """
    await queue.clear()
    warm_up = scale.pickups // 10
    seen = StartsAndEnds(scale.pickups + warm_up)
    called: dict[int, float] = {}
    async with _stuck_after(queue, seen), queue.working(max(slots, queue.fewest_slots), seen):
        for tag in range(-warm_up, scale.pickups):
            seen.ended.clear()
            called[tag] = time.perf_counter()
            await queue.enqueue(tag)
            await seen.ended.wait()
            await asyncio.sleep(PICKUP_PAUSE)
    times = [(seen.started[tag] - called[tag]) * 1000 for tag in range(scale.pickups)]
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        label = f"pick-up latency, {slots} slot(s), {name}"
        figures.add(label, system or queue.name, "ms", quantile(times, share))


async def time_working(queue: Contender, slots: int, scale: Scale, figures: Figures) -> None:
    """Measure from the first job's start until all jobs are stored as done. Raises ServiceError if they never are."""
    await queue.clear()
    for tag in range(scale.jobs):
        await queue.enqueue(tag)
    gc.collect()
    seen = StartsAndEnds(scale.jobs)
    async with _stuck_after(queue, seen), queue.working(max(slots, queue.fewest_slots), seen):
        await seen.all_started.wait()
        ended = await _when_stored(queue)
    rate = scale.jobs / (ended - min(seen.started.values()))
    figures.add(f"claim + complete, {slots} slot(s)", queue.name, "jobs/s", rate)


@asynccontextmanager
async def _stuck_after(queue: Contender, seen: StartsAndEnds) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_STUCK_SECONDS):
            yield
    except TimeoutError:
        raise ServiceError(
            f"{queue.name} did not finish its jobs: {len(seen.started)} started.",
            "Look at its log, or measure with --quick.",
        ) from None


async def _when_stored(queue: Contender) -> float:
    while True:
        if await queue.unfinished() == 0:
            return time.perf_counter()
        await asyncio.sleep(_WATCH_SECONDS)


async def time_claim_behind_deferred(queue: OwnQueue, scale: Scale, figures: Figures) -> None:
    """Measure a client's claim of one job behind many jobs of higher priority that wait for their time."""
    await queue.clear()
    half = len(queue.sessions) // 2
    await queue.pool.execute(_BEHIND, queue.sessions[:half], scale.deferred)
    worker, lease = WorkerId("bench"), timedelta(minutes=5)
    jobs, claims = JobQueue(queue.pool), Claims(queue.pool)
    for tag in range(2 * scale.claims):
        await jobs.enqueue(queue.sessions[half + tag], Prompt("ready"))
    times = []
    for _ in range(scale.claims):
        started = time.perf_counter()
        (job,) = await claims.claim(worker, 1, lease)
        times.append((time.perf_counter() - started) * 1000)
        await claims.fail(Attempt(job.id, job.attempt, worker), "measured", retry=False)
    label = f"claim of one behind {scale.deferred:,} deferred"
    figures.add(f"{label}, p50", queue.name, "ms", quantile(times, 0.50))
    figures.add(f"{label}, p99", queue.name, "ms", quantile(times, 0.99))
    inside = [await _claim_in_server(queue) for _ in range(scale.claims)]
    label = f"{label}, in the server without its commit"
    figures.add(f"{label}, p50", queue.name, "ms", quantile(inside, 0.50))
    figures.add(f"{label}, p99", queue.name, "ms", quantile(inside, 0.99))


async def _claim_in_server(queue: OwnQueue) -> float:
    (plan,) = json.loads(await queue.pool.fetchval(_CLAIM))
    assert plan["Plan"]["Actual Rows"] == 1, "nothing was claimed"
    return float(plan["Execution Time"])


async def time_stats(queue: OwnQueue, scale: Scale, figures: Figures) -> None:
    """Measure the counts that every dashboard asks for, with a long history."""
    jobs, times = JobQueue(queue.pool), []
    for _ in range(scale.claims):
        started = time.perf_counter()
        await jobs.stats()
        times.append((time.perf_counter() - started) * 1000)
    label = f"get_queue_stats with {scale.history:,} finished"
    figures.add(f"{label}, p50", queue.name, "ms", quantile(times, 0.50))
    figures.add(f"{label}, p99", queue.name, "ms", quantile(times, 0.99))
