"""Files, completion and cost are committed together or not at all."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import BudgetReached, HeadMoved, StoreError
from mobvibe_worker.events import Completion, Message, Payload
from mobvibe_worker.jobs import LOCAL_OWNER, Prompt, WorkerId
from mobvibe_worker.store.claims import Claims, FinishedWork
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.previews import PreviewRegistry
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.turns import TurnLedger
from support.postgres.database import (
    GREEN,
    LEASE,
    RED,
    claimed,
    lose_lease,
    new_session,
    running_job,
)

STARTER = {"App.tsx": b"starter", "assets/icon.png": bytes(range(256)), "empty.txt": b""}


async def test_a_completion_commits_files_head_events_and_status_together(pool: Pool) -> None:
    queue, revisions = JobQueue(pool), RevisionStore(pool)
    job, attempt = await running_job(pool)
    assert await revisions.head(job.project_id) is None
    template = await revisions.commit_template(attempt, STARTER)
    assert await revisions.commit_template(attempt, {"other": b""}) == template
    assert await revisions.files(template.id) == STARTER

    files = STARTER | {"App.tsx": b"the app", "copy.png": STARTER["assets/icon.png"]}
    events: list[Payload] = [Message("Done."), Completion(revision="", report=GREEN.to_data())]
    work = FinishedWork(files, template.id, GREEN, events, {"summary": "Done."})
    revision_id = await Claims(pool).complete(attempt, work)
    head = await revisions.head(job.project_id)
    assert head is not None and head[0].id == revision_id and head[1] == files
    assert (head[0].parent_id, head[0].source, head[0].job_id) == (template.id, "agent", job.id)
    assert await pool.fetchval("select count(*) from project_blobs") == 4
    assert (await queue.get(job.id)).status == "completed"
    stored = (await EventLog(pool).read(job.session_id))[-1]
    assert (stored.type, stored.data["revision"]) == ("completion", str(revision_id))

    seen = await EventLog(pool).read(job.session_id)
    assert await Claims(pool).complete(attempt, work) == revision_id
    assert await EventLog(pool).read(job.session_id) == seen
    assert await pool.fetchval("select count(*) from project_revisions") == 2


async def test_a_red_report_never_completes(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    template = await RevisionStore(pool).commit_template(attempt, STARTER)
    with pytest.raises(ValueError, match="green"):
        await Claims(pool).complete(attempt, FinishedWork(STARTER, template.id, RED))
    red_event = Completion(revision="", report=RED.to_data())
    with pytest.raises(StoreError, match="completion_is_green"):
        await Claims(pool).complete(attempt, FinishedWork(STARTER, template.id, GREEN, [red_event]))
    assert (await JobQueue(pool).get(job.id)).status == "processing"
    assert await pool.fetchval("select count(*) from project_revisions") == 1


async def test_a_moved_head_refuses_the_completion_and_keeps_the_persons_files(pool: Pool) -> None:
    revisions = RevisionStore(pool)
    job, attempt = await running_job(pool)
    template = await revisions.commit_template(attempt, STARTER)
    mine = await revisions.commit_person(job.project_id, template.id, {"App.tsx": b"mine"})
    assert mine.source == "person"
    with pytest.raises(HeadMoved):
        await Claims(pool).complete(attempt, FinishedWork({"App.tsx": b"its"}, template.id, GREEN))
    with pytest.raises(HeadMoved):
        await revisions.commit_person(job.project_id, template.id, {"App.tsx": b"late"})
    head = await revisions.head(job.project_id)
    assert head == (mine, {"App.tsx": b"mine"})
    assert await Claims(pool).complete(attempt, FinishedWork({"App.tsx": b"both"}, mine.id, GREEN))


async def test_a_project_with_files_can_be_deleted(pool: Pool) -> None:
    job, attempt = await running_job(pool)
    await RevisionStore(pool).commit_template(attempt, STARTER)
    await TurnLedger(pool).reserve(attempt, 1, "m", Decimal(1))
    await PreviewRegistry(pool).upsert(
        job.session_id, job.project_id, "process", "p1", "http://127.0.0.1:1", "starting"
    )
    await PreviewRegistry(pool).stopped("p1")
    await pool.execute("delete from projects where id = $1", job.project_id)
    for table in ("project_files", "project_blobs", "job_turns", "preview_containers"):
        assert await pool.fetchval(f"select count(*) from {table}") == 0


async def test_concurrent_reservations_never_exceed_the_budget(pool: Pool) -> None:
    queue, ledger = JobQueue(pool), TurnLedger(pool)
    session = await new_session(pool)
    job_id = await queue.enqueue(session, Prompt("a timer"), budget_usd=Decimal("1.00"))
    ((job, attempt),) = await claimed(pool)
    outcomes = await asyncio.gather(
        *(ledger.reserve(attempt, turn, "m", Decimal("0.30")) for turn in range(1, 9)),
        return_exceptions=True,
    )
    assert sum(outcome is None for outcome in outcomes) == 3
    assert all(outcome is None or isinstance(outcome, BudgetReached) for outcome in outcomes)

    turns = [row["turn"] for row in await pool.fetch("select turn from job_turns order by turn")]
    await ledger.settle(attempt, turns[0], {"response": "hi"}, {"output": 5}, Decimal("0.05"))
    await ledger.reserve(attempt, 20, "m", Decimal("0.30"))
    with pytest.raises(BudgetReached):
        await ledger.reserve(attempt, 21, "m", Decimal("0.06"))

    await lose_lease(pool, job)
    await Claims(pool).reclaim()
    (again,) = await Claims(pool).claim(WorkerId("w2"), 1, LEASE)
    second = type(attempt)(again.id, again.attempt, WorkerId("w2"))
    with pytest.raises(BudgetReached):
        await ledger.reserve(second, 1, "m", Decimal("0.06"))
    await ledger.reserve(second, 1, "m", Decimal("0.05"))
    await ledger.settle(second, 1, {}, {}, None)
    assert await ledger.cost_of_job(job_id) == Decimal("0.05")
    assert await ledger.cost_today(LOCAL_OWNER) == Decimal("0.05")


async def test_the_default_budget_applies_if_the_job_has_none(pool: Pool) -> None:
    _, attempt = await running_job(pool)
    ledger = TurnLedger(pool)
    with pytest.raises(BudgetReached):
        await ledger.reserve(attempt, 1, "m", Decimal(2), default_budget_usd=Decimal(1))
    await ledger.reserve(attempt, 1, "m", Decimal(2))
