"""The scenarios of `bench queue`: each is one timed thing that is done to a queue."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from dataclasses import dataclass
from datetime import timedelta

from mobvibe_app.bench.contender import Contender
from mobvibe_app.bench.figures import Figures, quantile
from mobvibe_app.bench.ours import OwnQueue
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.jobs import Attempt, WorkerId
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.job_queue import JobQueue

BATCH = 1000
FEW_LINES = 10
PICKUP_PAUSE = 0.003
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
    """How much of everything; `jobs` by the number of slots."""

    rounds: int
    singles: int
    batches: int
    jobs: dict[int, int]
    slow_jobs: int
    """For a queue that does hundreds a second where others do thousands."""
    lines: int
    """Projects where each has many jobs."""
    pickups: int
    deferred: int
    claims: int
    history: int

    @property
    def most_jobs(self) -> int:
        """The longest queue of any scenario."""
        return max(*self.jobs.values(), self.batches * BATCH)


FULL = Scale(
    rounds=3,
    singles=1000,
    batches=10,
    jobs={1: 1000, 10: 5000, 100: 20_000, 500: 20_000},
    slow_jobs=600,
    lines=500,
    pickups=600,
    deferred=50_000,
    claims=300,
    history=1_000_000,
)
QUICK = Scale(
    rounds=1,
    singles=20,
    batches=1,
    jobs={10: 200},
    slow_jobs=100,
    lines=20,
    pickups=20,
    deferred=200,
    claims=10,
    history=1000,
)


async def time_enqueueing(queue: Contender, scale: Scale, figures: Figures) -> None:
    """One by one, then in batches of 1,000."""
    await queue.clear()
    started = time.perf_counter()
    for tag in range(scale.singles):
        await queue.enqueue(tag)
    rate = scale.singles / (time.perf_counter() - started)
    figures.add("enqueue one by one", queue.name, "jobs/s", rate)
    if isinstance(queue, OwnQueue):
        started = time.perf_counter()
        for tag in range(scale.singles):
            await queue.enqueue_bare(tag)
        rate = scale.singles / (time.perf_counter() - started)
        figures.add("enqueue one by one", f"{queue.name}, bare", "jobs/s", rate)
    for lines in (None, FEW_LINES) if isinstance(queue, OwnQueue) else (None,):
        await queue.clear()
        started = time.perf_counter()
        for _ in range(scale.batches):
            await queue.enqueue_batch(BATCH, lines)
        rate = scale.batches * BATCH / (time.perf_counter() - started)
        name = queue.name if lines is None else f"{queue.name}, into {lines} projects"
        figures.add(f"enqueue in batches of {BATCH:,}", name, "jobs/s", rate)


async def time_working(
    queue: Contender, slots: int, jobs: int, lines: int | None, label: str, figures: Figures
) -> None:
    """From the first job's start until all of them are stored as done. Raises ServiceError when they never are."""
    await queue.clear()
    for first in range(0, jobs, BATCH):
        await queue.enqueue_batch(min(BATCH, jobs - first), lines)
    gc.collect()
    begun: list[float] = []
    all_started = asyncio.Event()

    def on_start(tag: int) -> None:
        begun.append(time.perf_counter())
        if len(begun) >= jobs:
            all_started.set()

    slots = max(slots, queue.fewest_slots)
    try:
        async with asyncio.timeout(_STUCK_SECONDS), queue.working(slots, on_start):
            await all_started.wait()
            ended = await _when_stored(queue)
    except TimeoutError:
        raise ServiceError(
            f"{queue.name} did not finish {jobs} jobs with {slots} slots: {len(begun)} started.",
            "Look at its log, or measure with --quick.",
        ) from None
    figures.add(label, queue.name, "jobs/s", jobs / (ended - begun[0]))


async def _when_stored(queue: Contender) -> float:
    while True:
        if await queue.unfinished() == 0:
            return time.perf_counter()
        await asyncio.sleep(_WATCH_SECONDS)


async def time_pickup(queue: Contender, scale: Scale, figures: Figures) -> None:
    """From the call that enqueues to the job's start, one job each few milliseconds, in one process."""
    await queue.clear()
    called: dict[int, float] = {}
    waited: dict[int, float] = {}
    warm_up = scale.pickups // 10
    all_started = asyncio.Event()

    def on_start(tag: int) -> None:
        waited[tag] = (time.perf_counter() - called[tag]) * 1000
        if len(waited) >= scale.pickups + warm_up:
            all_started.set()

    async with queue.working(10, on_start):
        for tag in range(-warm_up, scale.pickups):
            called[tag] = time.perf_counter()
            await queue.enqueue(tag)
            await asyncio.sleep(PICKUP_PAUSE)
        async with asyncio.timeout(_STUCK_SECONDS):
            await all_started.wait()
    times = [waited[tag] for tag in range(scale.pickups)]
    figures.add("pick-up latency, p50", queue.name, "ms", quantile(times, 0.50))
    figures.add("pick-up latency, p99", queue.name, "ms", quantile(times, 0.99))


async def time_claim_behind_deferred(queue: OwnQueue, scale: Scale, figures: Figures) -> None:
    """A claim of one job by a client, behind many of higher priority that wait for their time."""
    await queue.clear()
    half = len(queue.sessions) // 2
    await queue.pool.execute(_BEHIND, queue.sessions[:half], scale.deferred)
    worker, lease = WorkerId("bench"), timedelta(minutes=5)
    jobs = JobQueue(queue.pool)
    for tag in range(2 * scale.claims):
        await jobs.enqueue(queue.sessions[half + tag], "ready")
    times = []
    for _ in range(scale.claims):
        started = time.perf_counter()
        (job,) = await Claims(queue.pool).claim(worker, 1, lease)
        times.append((time.perf_counter() - started) * 1000)
        await Claims(queue.pool).fail(Attempt(job.id, job.attempt, worker), "measured", retry=False)
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
    """The counts that every dashboard asks for, with a long history."""
    jobs, times = JobQueue(queue.pool), []
    for _ in range(scale.claims):
        started = time.perf_counter()
        await jobs.stats()
        times.append((time.perf_counter() - started) * 1000)
    label = f"get_queue_stats with {scale.history:,} finished"
    figures.add(f"{label}, p50", queue.name, "ms", quantile(times, 0.50))
    figures.add(f"{label}, p99", queue.name, "ms", quantile(times, 0.99))
