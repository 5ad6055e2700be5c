"""A claim whose reply was lost runs soon, and no job runs twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from asyncpg import Pool

from mobvibe_worker.jobs import Prompt
from mobvibe_worker.runner.running_job import RunAttempt, RunningJob
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.stores import Stores
from support.polling import until
from support.postgres.cutting_proxy import CuttingProxy
from support.postgres.database import new_session
from support.working import Endless, at_work, complete, until_status

LEASE_SECONDS = 60.0
"""Longer than a test may take, so waiting for a lease to expire fails."""


@asynccontextmanager
async def behind_the_proxy(
    database_url: str, proxied_url: str, run_attempt: RunAttempt, *, slots: int
) -> AsyncIterator[Worker]:
    """Run a worker whose statements go through the proxy and whose notifications do not."""
    pool = await open_pool(proxied_url, size=6)
    try:
        async with (
            Listener(database_url) as listener,
            at_work(pool, listener, run_attempt, slots=slots, lease=LEASE_SECONDS) as worker,
        ):
            yield worker
    finally:
        await pool.close()


async def test_a_claim_whose_reply_was_lost_runs_soon_and_costs_no_retry(
    database_url: str, pool: Pool
) -> None:
    queue, work = JobQueue(pool), Endless()
    job_id = await queue.enqueue(await new_session(pool), Prompt("an app"))
    answers = itertools.count()
    proxy = CuttingProxy(lambda answer: job_id.bytes in answer and next(answers) == 0)
    async with (
        proxy.before(database_url) as proxied,
        behind_the_proxy(database_url, proxied, work, slots=2),
    ):
        await until(lambda: proxy.cut == 1, 10, "the reply to the claim is lost")
        await until(lambda: bool(work.started), 10, "it runs")
        found = await queue.get(job_id)
        assert (found.status, found.attempt, found.retry_count) == ("processing", 2, 0)
        assert work.started[0].attempt.number == 2, "the server executed the first claim"


async def test_a_claim_executed_later_is_released_and_running_jobs_are_left_alone(
    database_url: str, pool: Pool
) -> None:
    """A server finishes its statement even if the client has disconnected, however long it takes."""
    queue, work = JobQueue(pool), Endless()
    running = await queue.enqueue(await new_session(pool), Prompt("this one runs"))
    async with behind_the_proxy(database_url, database_url, work, slots=1) as worker:
        await until(lambda: bool(work.started), 10, "one runs")
        other = await queue.enqueue(await new_session(pool, "Two"), Prompt("another app"))
        worker.claimer.lost.suspect()
        worker.claimer.wake()
        (late,) = await Claims(pool).claim(worker.id, 1, timedelta(seconds=LEASE_SECONDS))
        assert late.id == other
        while (found := await queue.get(other)).status != "pending":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (found.attempt, found.retry_count) == (1, 0)
        assert [each.job.id for each in work.started] == [running]
        assert (await queue.get(running)).status == "processing"


async def test_a_claim_whose_reply_is_only_late_is_not_lost(database_url: str, pool: Pool) -> None:
    queue, work = JobQueue(pool), Endless()
    job_id = await queue.enqueue(await new_session(pool), Prompt("an app"))
    answers: list[bytes] = []

    def is_first(answer: bytes) -> bool:
        if job_id.bytes in answer:
            answers.append(answer)
        return len(answers) == 1 and answers[0] is answer

    proxy = CuttingProxy(holds=is_first)
    async with (
        proxy.before(database_url) as proxied,
        behind_the_proxy(database_url, proxied, work, slots=2) as worker,
    ):
        await until(lambda: proxy.held == 1, 10, "the job is claimed, the answer under way")
        worker.claimer.lost.suspect()
        proxy.may_pass.set()
        await until(lambda: len(answers) > 1, 10, "the worker sees that it holds the job")
        found = await queue.get(job_id)
        assert (found.status, found.attempt) == ("processing", 1)
        assert [each.attempt.number for each in work.started] == [1]


async def test_jobs_claimed_after_the_stop_are_handed_back(database_url: str, pool: Pool) -> None:
    queue, work = JobQueue(pool), Endless()
    job_id = await queue.enqueue(await new_session(pool), Prompt("an app"))
    proxy = CuttingProxy(holds=lambda answer: job_id.bytes in answer)
    async with (
        proxy.before(database_url) as proxied,
        behind_the_proxy(database_url, proxied, work, slots=2) as worker,
    ):
        await until(lambda: proxy.held == 1, 10, "the job is claimed, the answer under way")
        worker.stop()
        proxy.may_pass.set()
        await until_status(pool, job_id, "pending")
    found = await queue.get(job_id)
    assert (found.attempt, found.retry_count, work.started) == (1, 0, [])


async def test_jobs_that_cannot_be_handed_back_in_time_are_handed_back_at_the_end(
    database_url: str, pool: Pool
) -> None:
    """The project is locked for longer than a stopping worker waits for its last claim."""
    queue, work = JobQueue(pool), Endless()
    job_id = await queue.enqueue(await new_session(pool), Prompt("an app"))
    proxy = CuttingProxy(holds=lambda answer: job_id.bytes in answer)
    async with (
        proxy.before(database_url) as proxied,
        behind_the_proxy(database_url, proxied, work, slots=2) as worker,
    ):
        await until(lambda: proxy.held == 1, 10, "the job is claimed, the answer under way")
        async with pool.acquire() as person, person.transaction():
            await person.execute("select from projects for no key update")
            worker.stop()
            proxy.may_pass.set()
            await until(lambda: worker.claimer.lost.are_suspected, 20, "the worker stops waiting")
        await until_status(pool, job_id, "pending")
    found = await queue.get(job_id)
    assert (found.attempt, found.retry_count, work.started) == (1, 0, [])


async def test_every_job_runs_once_and_in_order_however_many_replies_are_lost(
    database_url: str, pool: Pool
) -> None:
    queue = JobQueue(pool)
    sessions = [await new_session(pool, f"App {n}") for n in range(5)]
    ids = [await queue.enqueue(each, Prompt(str(n))) for n in range(30) for each in sessions]
    done: dict[UUID, list[str]] = {session: [] for session in sessions}
    answers = itertools.count(1)

    def is_cut(answer: bytes) -> bool:
        """Whether to cut this answer: every twelfth of those that carry a job, starting with a claim."""
        return any(job.bytes in answer for job in ids) and next(answers) % 12 == 1

    async def work(running: RunningJob) -> None:
        done[running.job.session_id].append(running.job.prompt)
        await complete(Stores(pool), running)

    proxy = CuttingProxy(is_cut)
    async with (
        proxy.before(database_url) as proxied,
        behind_the_proxy(database_url, proxied, work, slots=4) as worker,
    ):
        await until(lambda: worker.tally.outcomes["completed"] == 150, 45, "all are done")
    assert proxy.cut > 3
    assert all(order == [str(n) for n in range(30)] for order in done.values())
    rows = await pool.fetch("select status, retry_count, attempt > 1 from coding_jobs")
    reported = Counter(map(tuple, rows))
    assert {(status, retries) for status, retries, _ in reported} == {("completed", 0)}
    assert reported["completed", 0, True] > 0, "some claims must be lost"
