"""The queue with several workers: order, fencing and the ways in which a job ends."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.errors import InputError, LeaseLost, NotFound
from mobvibe_worker.events import ErrorRaised, Message
from mobvibe_worker.jobs import LOCAL_OWNER, Attempt, JobId, Prompt, RevisionId, SessionId, WorkerId
from mobvibe_worker.store.claims import Claims, FinishedWork, Renewal
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.turns import TurnLedger
from mobvibe_worker.store.workers import WorkerRegistry
from support.polling import within
from support.postgres.database import GREEN, LEASE, claimed, lose_lease, new_session, running_job


async def _finish(pool: Pool, attempt: Attempt) -> None:
    await pool.execute("select complete_job($1)", attempt.job_id)


async def test_a_repeated_prompt_becomes_one_job_with_one_message(pool: Pool) -> None:
    queue, session = JobQueue(pool), await new_session(pool)
    await pool.execute(
        "update coding_sessions set status = 'expired', expires_at = now() - interval '1 day'"
    )
    job_id = await queue.enqueue(
        session, Prompt("a timer"), recording="demo", budget_usd=Decimal("1.5"), idempotency_key="k"
    )
    assert await queue.enqueue(session, Prompt("a timer"), idempotency_key="k") == job_id
    job = await queue.get(job_id)
    assert (job.recording, job.budget_usd, job.user_id) == ("demo", Decimal("1.5"), LOCAL_OWNER)
    (event,) = await EventLog(pool).read(session)
    assert (event.type, event.job_id, event.seq) == ("message", job_id, 1)
    assert event.data == {"text": "a timer", "author": "person"}
    revived = await SessionStore(pool).get(session)
    assert revived.status == "active" and revived.expires_at > job.created_at
    for prompt in ("", " \n", "x" * 20_001):
        with pytest.raises(InputError):
            Prompt(prompt)
    with pytest.raises(NotFound):
        await queue.enqueue(SessionId(job_id), Prompt("an unknown session"))


async def test_jobs_run_by_priority_then_first_in_first_out_across_projects(pool: Pool) -> None:
    queue = JobQueue(pool)
    for number, priority in enumerate((0, 0, 7, 1)):
        await queue.enqueue(await new_session(pool), Prompt(str(number)), priority=priority)
    jobs = [job.prompt for job, _ in await claimed(pool, slots=3)]
    assert jobs == ["2", "3", "0"]
    assert [job.prompt for job, _ in await claimed(pool, slots=3)] == ["1"]


async def test_several_workers_run_each_job_once_and_one_per_project_in_order(pool: Pool) -> None:
    queue = JobQueue(pool)
    sessions = [await new_session(pool) for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            for session in sessions:
                group.create_task(queue.enqueue(session, Prompt(f"{session} {number}")))
    running: Counter[SessionId] = Counter()
    done: dict[SessionId, list[JobId]] = {session: [] for session in sessions}

    async def work(worker: str) -> None:
        while sum(map(len, done.values())) < 100:
            for job, attempt in await claimed(pool, worker, slots=2):
                running[job.session_id] += 1
                assert running[job.session_id] == 1
                await asyncio.sleep(0)
                running[job.session_id] -= 1
                done[job.session_id].append(job.id)
                await _finish(pool, attempt)

    async with within(60), asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(work(name))
    for session, order in done.items():
        entered = await pool.fetch(
            "select id, attempt from coding_jobs where session_id = $1 order by created_at", session
        )
        assert order == [row["id"] for row in entered]
        assert {row["attempt"] for row in entered} == {1}


async def test_a_worker_without_a_model_claims_only_recordings(pool: Pool) -> None:
    queue = JobQueue(pool)
    free = await queue.enqueue(await new_session(pool), Prompt("a timer"), priority=9)
    demo = await queue.enqueue(await new_session(pool), Prompt("a demo"), recording="pomodoro")
    keyless = await Claims(pool).claim(WorkerId("keyless"), 2, LEASE, recordings_only=True)
    assert [job.id for job in keyless] == [demo]
    assert (await queue.get(free)).status == "pending"
    assert [job.id for job, _ in await claimed(pool)] == [free]


async def test_the_live_job_is_the_running_one_or_else_a_waiting_one(pool: Pool) -> None:
    queue = JobQueue(pool)
    job, attempt = await running_job(pool)
    waiting = await queue.enqueue(job.session_id, Prompt("the next one"))
    assert await queue.live_job(job.session_id) == job.id
    assert [each.id for each in await queue.newest(1)] == [waiting]
    assert [each.id for each in await queue.newest()] == [waiting, job.id]
    await _finish(pool, attempt)
    assert await queue.live_job(job.session_id) == waiting
    await queue.cancel(waiting)
    assert await queue.live_job(job.session_id) is None


async def test_a_recently_ended_job_counts_for_the_current_minute(pool: Pool) -> None:
    _, attempt = await running_job(pool)
    await _finish(pool, attempt)
    await pool.execute("update coding_jobs set completed_at = now() - interval '45 seconds'")
    assert (await JobQueue(pool).finished_per_minute(3)) == (0, 0, 1)


@pytest.mark.parametrize("successor", ["quick", "slow"])
async def test_a_stale_attempt_cannot_write_anything(pool: Pool, successor: str) -> None:
    job, stale = await running_job(pool, "slow")
    base = await RevisionStore(pool).commit_template(stale, {"App.tsx": b"1"})
    await lose_lease(pool, job)
    assert await Claims(pool).reclaim() == [job.id]
    ((again, current),) = await claimed(pool, successor)
    assert (again.id, current.number, again.retry_count) == (job.id, 2, 1)
    before = await EventLog(pool).read(job.session_id)

    work = FinishedWork({"App.tsx": b"2"}, base.id, GREEN)
    writes = (
        lambda: Claims(pool).complete(stale, work),
        lambda: Claims(pool).fail(stale, "no", retry=True, events=[ErrorRaised("no")]),
        lambda: Claims(pool).finish_cancelled(stale),
        lambda: Claims(pool).hand_back(stale),
        lambda: EventLog(pool).append(job.session_id, [Message("late")], attempt=stale),
        lambda: TurnLedger(pool).reserve(stale, 1, "m", Decimal(1)),
        lambda: RevisionStore(pool).commit_template(stale, {"App.tsx": b"3"}),
    )
    for write in writes:
        with pytest.raises(LeaseLost):
            await write()
    assert await Claims(pool).renew(stale.worker, [stale], LEASE) == []
    assert await EventLog(pool).read(job.session_id) == before
    assert await Claims(pool).renew(current.worker, [current], LEASE) == [Renewal(job.id, False)]
    assert await Claims(pool).complete(current, work)


async def test_a_failed_job_backs_off_and_finally_is_dead(pool: Pool) -> None:
    queue = JobQueue(pool)
    job, attempt = await running_job(pool)
    assert await Claims(pool).fail(
        attempt, "overloaded", retry=True, events=[ErrorRaised("overloaded")]
    )
    waiting = await queue.get(job.id)
    assert (waiting.status, waiting.retry_count, waiting.error) == ("pending", 1, "overloaded")
    assert await claimed(pool) == []
    due = await Claims(pool).next_due_seconds()
    assert due is not None and 3 < due < 7
    stored = (await EventLog(pool).read(job.session_id))[-1]
    assert stored.data["will_retry"] is True

    await pool.execute("update coding_jobs set run_at = now()")
    ((_, second),) = await claimed(pool)
    assert not await Claims(pool).fail(
        second, "bad key", retry=False, events=[ErrorRaised("bad key")]
    )
    assert (await queue.get(job.id)).status == "failed"
    assert (await SessionStore(pool).get(job.session_id)).status == "failed"
    assert (await EventLog(pool).read(job.session_id))[-1].data["will_retry"] is False
    assert await Claims(pool).next_due_seconds() is None

    await queue.retry(job.id)
    assert (await SessionStore(pool).get(job.session_id)).status == "active"
    ((revived, third),) = await claimed(pool)
    assert (revived.retry_count, third.number) == (0, 3)
    with pytest.raises(InputError):
        await queue.retry(job.id)


async def test_a_job_that_lost_three_workers_is_dead(pool: Pool) -> None:
    queue = JobQueue(pool)
    job, _ = await running_job(pool)
    waiting = await queue.enqueue(job.session_id, Prompt("the next one"))
    for lost in (1, 2):
        await lose_lease(pool, job)
        assert await Claims(pool).next_due_seconds() == 0
        assert await Claims(pool).reclaim() == [job.id]
        ((again, _),) = await claimed(pool)
        assert (again.id, again.retry_count) == (job.id, lost)
    await lose_lease(pool, job)
    await Claims(pool).reclaim()
    dead = await queue.get(job.id)
    assert (dead.status, dead.error) == ("failed", "The worker was lost 3 times.")
    assert (await EventLog(pool).read(job.session_id))[-1].data["will_retry"] is False
    ((successor, _),) = await claimed(pool)
    assert successor.id == waiting


async def test_jobs_can_be_cancelled_and_handed_back(pool: Pool) -> None:
    queue = JobQueue(pool)
    job, attempt = await running_job(pool)
    waiting = await queue.enqueue(job.session_id, Prompt("the next one"))
    assert await queue.cancel(waiting) == "cancelled"

    await Claims(pool).hand_back(attempt)
    ((_, attempt),) = await claimed(pool)
    handed = await queue.get(job.id)
    assert (handed.attempt, handed.retry_count) == (2, 0)

    assert await queue.cancel(job.id) == "processing"
    assert await Claims(pool).renew(attempt.worker, [attempt], LEASE) == [Renewal(job.id, True)]
    await Claims(pool).finish_cancelled(attempt, [ErrorRaised("Cancelled.", is_cancelled=True)])
    assert await queue.cancel(job.id) == "cancelled"
    assert (await EventLog(pool).read(job.session_id))[-1].data["is_cancelled"] is True
    with pytest.raises(NotFound):
        await queue.cancel(JobId(job.session_id))

    await queue.retry(waiting)
    ((_, attempt),) = await claimed(pool)
    await queue.cancel(waiting)
    assert not await Claims(pool).fail(attempt, "overloaded", retry=True)
    assert (await queue.get(waiting)).status == "cancelled"


async def test_notifications_name_new_and_changed_jobs(database_url: str, pool: Pool) -> None:
    heard: list[tuple[str, list[dict[str, object]]]] = []
    connection = await asyncpg.connect(database_url)
    for channel in ("new_job", "job_status_changed"):
        await connection.add_listener(
            channel, lambda *notice: heard.append((notice[2], json.loads(str(notice[3]))))
        )
    queue = JobQueue(pool)
    session = await new_session(pool)
    first = str(await queue.enqueue(session, Prompt("one"), priority=2))
    second = str(await queue.enqueue(session, Prompt("two")))
    ((_, attempt),) = await claimed(pool)
    await queue.cancel(JobId(attempt.job_id))
    await Claims(pool).finish_cancelled(attempt)
    await pool.execute(
        "insert into coding_jobs(session_id, prompt) select $1, 'many' from generate_series(1, 500)",
        session,
    )
    await connection.fetchval("select 1")
    await connection.close()
    assert heard[:6] == [
        ("new_job", [{"id": first, "priority": 2}]),
        ("new_job", [{"id": second, "priority": 0}]),
        ("job_status_changed", [{"id": first, "old": "pending", "new": "processing"}]),
        (
            "job_status_changed",
            [{"id": first, "old": "processing", "new": "processing", "cancel_requested": True}],
        ),
        ("new_job", [{"id": second, "priority": 0}]),
        ("job_status_changed", [{"id": first, "old": "processing", "new": "cancelled"}]),
    ]
    assert len(heard) == 13 and sum(len(items) for _, items in heard[6:]) == 500


async def test_sessions_projects_and_workers_are_listed(pool: Pool) -> None:
    queue, projects, sessions = JobQueue(pool), ProjectStore(pool), SessionStore(pool)
    quiet = await new_session(pool, "Ünïcode & more")
    busy = await new_session(pool, "Coffee timer")
    twin = await projects.create(LOCAL_OWNER, "Coffee timer", 57)
    assert (twin.slug, twin.sdk) == ("coffee-timer-2", 57)
    assert await projects.by_slug(LOCAL_OWNER, "coffee-timer-2") == await projects.get(twin.id)
    with pytest.raises(InputError, match="coffee-timer"):
        await projects.create(LOCAL_OWNER, "Mine", 54, slug="coffee-timer")
    with pytest.raises(NotFound):
        await projects.by_slug(LOCAL_OWNER, "nothing")
    assert (await projects.list(LOCAL_OWNER))[0].slug == "coffee-timer-2"

    await queue.enqueue(busy, Prompt("old"))
    newest = await queue.enqueue(busy, Prompt("new"))
    rows = await sessions.summaries(LOCAL_OWNER, 10)
    assert [row.id for row in rows] == [busy, quiet]
    assert (rows[0].job_id, rows[0].job_status, rows[0].sdk) == (newest, "pending", 54)
    assert (rows[1].job_id, rows[1].project) == (None, "n-code-more")

    registry = WorkerRegistry(pool)
    worker = WorkerId("w")
    for _ in range(2):
        await registry.beat(worker, host="h", pid=1, version="0", slots=2)
    await registry.gone(worker)
    assert await pool.fetchval("select count(*) from workers where gone_at is not null") == 1
    assert RevisionId(newest) == newest
