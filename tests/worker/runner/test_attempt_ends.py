"""An attempt ends if the database refuses its events, and counts once if its outcome is stored at the second try."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from asyncpg import Pool

from mobvibe_worker.agent.model import Model
from mobvibe_worker.errors import StoreError
from mobvibe_worker.events import (
    ErrorRaised,
    FileChange,
    Message,
    Payload,
    PreviewReady,
    Terminal,
    Thinking,
)
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Attempt, Job, Prompt
from mobvibe_worker.runner.attempt import AttemptRunner
from mobvibe_worker.runner.attempt_end import AttemptBorder
from mobvibe_worker.runner.event_buffer import EventBuffer
from mobvibe_worker.runner.running_job import RunAttempt, RunningJob, WorkerTimings
from mobvibe_worker.runner.staging import Toolchains
from mobvibe_worker.runner.tally import Tally
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.sanitize import Redactor
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.stores import Stores
from support.polling import until, within
from support.postgres.database import new_session, running_job
from support.postgres.refusals import refuse_events

NOTHING_SECRET = Redactor(())


def under_way(
    pool: Pool, job: Job, attempt: Attempt, run_attempt: RunAttempt
) -> tuple[RunningJob, asyncio.Task[None]]:
    """Run an attempt in a task, as the worker does."""
    events = EventBuffer(
        *(EventLog(pool), job.session_id, attempt),
        on_lost=lambda: pytest.fail("no other worker has the job"),
        on_refused=lambda error: running.refuse(error),
        redact=NOTHING_SECRET,
    )
    running = RunningJob(job, attempt, events, began=0, renewed_at=0)
    border = AttemptBorder(Claims(pool), NOTHING_SECRET)
    running.task = asyncio.create_task(border.run(running, run_attempt))
    return running, running.task


async def test_work_ends_at_once_if_its_events_are_refused(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    await refuse_events(pool, "new.data ->> 'text' = 'refused'")
    cleaned_up = asyncio.Event()

    async def work(running: RunningJob) -> None:
        running.events.emit(Message("before"))
        await running.events.flush()
        running.events.emit(Message("refused"))
        running.events.emit(Message("of the same batch"))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()

    running, task = under_way(pool, job, attempt, work)
    async with within(10):
        await task
    assert running.outcome == "failed" and cleaned_up.is_set()
    running.events.emit(Message("after"))
    await running.events.flush()
    stored = await JobQueue(pool).get(job.id)
    assert stored.status == "failed" and "no room for that" in str(stored.error)
    events = await EventLog(pool).read(job.session_id)
    assert [event.data.get("text") for event in events] == ["a timer for coffee", "before", None]


async def test_no_stored_event_holds_a_secret(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    buffer = EventBuffer(
        *(EventLog(pool), job.session_id, attempt),
        on_lost=lambda: pytest.fail("no other worker has the job"),
        on_refused=lambda error: pytest.fail(str(error)),
        redact=Redactor(["sk-canary-canary"]),
    )
    secret = "with sk-canary-canary inside"
    emitted: list[Payload] = [
        Thinking(secret, secret),
        Message(secret),
        Terminal(secret, output=secret),
        FileChange(secret, "renamed", origin=secret),
        PreviewReady(secret, 54, secret),
        ErrorRaised(secret, secret),
    ]
    async with buffer:
        for payload in emitted:
            buffer.emit(payload)
        await buffer.flush()
    stored = (await EventLog(pool).read(job.session_id))[1:]
    assert [type(event.payload) for event in stored] == [type(payload) for payload in emitted]
    assert "sk-canary" not in repr([event.data for event in stored])
    assert repr([event.data for event in stored]).count("with [secret] inside") == 11


@pytest.mark.parametrize("first", ["refused", "cancelled"])
async def test_a_stop_and_a_refusal_interrupt_the_clean_up_of_the_work_only_once(
    pool: Pool, first: str
) -> None:
    job, attempt = await running_job(pool)
    begun, interrupted, cleaned_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(running: RunningJob) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.set()
            for _ in range(20):
                await asyncio.sleep(0)
            cleaned_up.set()

    running, task = under_way(pool, job, attempt, work)
    await begun.wait()
    asks = [lambda: running.refuse(StoreError("no room")), lambda: running.stop("cancelled")]
    if first == "cancelled":
        asks.reverse()
    asks[0]()
    await interrupted.wait()
    asks[1]()
    async with within(10):
        await task
    assert cleaned_up.is_set() and running.outcome == "cancelled"


async def test_work_that_completes_although_its_events_are_refused_is_completed(
    pool: Pool,
) -> None:
    job, attempt = await running_job(pool)
    begun = asyncio.Event()

    async def work(running: RunningJob) -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    running, task = under_way(pool, job, attempt, work)
    await begun.wait()
    running.refuse(StoreError("no room"))
    async with within(10):
        await task
    assert running.outcome == "completed"
    assert (await JobQueue(pool).get(job.id)).status == "processing", "completed by the work itself"


async def test_an_attempt_counts_once_if_its_outcome_is_stored_at_the_second_try(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    """The database refuses the first failure, and the refusal is stored instead."""
    session = await new_session(pool)
    await pool.execute("""update projects set expo_config = '{"sdk": 12}'""")
    await refuse_events(pool, "new.event_type = 'error'", times=1)
    async with Listener(database_url) as listener:
        worker = worker_of_builds(pool, listener, tmp_path)
        task = asyncio.create_task(worker.run())
        try:
            job_id = await JobQueue(pool).enqueue(session, Prompt("an app"))
            await until(lambda: worker.tally.ended > 0, 20, "the attempt has ended")
            await until(lambda: not worker.running, 20, "nothing runs")
        finally:
            worker.stop()
            await task
    tally = worker.tally
    assert {name: number for name, number in tally.outcomes.items() if number} == {"failed": 1}
    assert (tally.claimed, tally.ended, tally.durations()[-1][1]) == (1, 1, 1)
    found = await JobQueue(pool).get(job_id)
    assert (found.status, found.attempt) == ("failed", 1) and "no room" in str(found.error)


def worker_of_builds(pool: Pool, listener: Listener, folder: Path) -> Worker:
    """A worker that runs real attempts without a model."""
    stores, home, tally = Stores(pool), Home(folder), Tally()
    attempts = AttemptRunner(
        home, stores, Toolchains(home), no_model, NOTHING_SECRET, Decimal(1), tally.spend
    )
    timings = WorkerTimings(lease=30.0, poll=10.0, concurrency=1)
    return Worker(stores, listener, attempts, timings, tally=tally)


def no_model(job: Job) -> Model:
    raise AssertionError(f"{job.id} must not ask for a model")
