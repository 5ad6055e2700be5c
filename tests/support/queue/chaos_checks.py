"""Checks the tables and the readers' events after a chaos run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any
from uuid import UUID

from asyncpg import Pool

from mobvibe_worker.events import Event
from support.queue.chaos import Chaos

AUDIT = """
create schema chaos;
create table chaos.completions (job_id uuid not null, attempt integer not null);
create function chaos.note() returns trigger language plpgsql as $$
begin
  insert into chaos.completions values (new.id, new.attempt);
  return null;
end
$$;
create trigger note after update on public.coding_jobs
  for each row when (new.status = 'completed' and old.status <> 'completed')
  execute function chaos.note();
"""


async def check_everything(chaos: Chaos) -> dict[str, int]:
    """Check everything and return counts. Raises AssertionError if a job is lost, doubled or out of order."""
    rows = await chaos.pool.fetch("select * from public.coding_jobs order by created_at, id")
    jobs = {row["id"]: dict(row) for row in rows}
    lost = set(chaos.entered) - jobs.keys()
    assert not lost, f"lost: {lost}"
    assert {job["status"] for job in jobs.values()} <= {"completed", "cancelled"}
    await _completed_once(chaos.pool, jobs)
    await _counts_agree(chaos.pool, jobs)
    events = 0
    for reader in chaos.readers:
        stored = await chaos.pool.fetchval(
            "select last_seq from public.coding_sessions where id = $1", reader.session
        )
        seqs = [event.seq for event in reader.seen]
        assert seqs == list(range(1, stored + 1)), (
            f"{reader.session}: events are missing or out of order"
        )
        mine = [job for job in jobs.values() if job["session_id"] == reader.session]
        _one_at_a_time(reader.seen)
        _in_order(mine, reader.seen, chaos.touched)
        events += stored
    statuses = Counter(job["status"] for job in jobs.values())
    attempts = sum(job["attempt"] for job in jobs.values())
    return {"jobs": len(jobs), **statuses, "attempts": attempts, "events": events}


async def _completed_once(pool: Pool, jobs: dict[UUID, dict[str, Any]]) -> None:
    """Check that each job was completed once, by the attempt in its row."""
    rows = await pool.fetch("select job_id, attempt from chaos.completions")
    times = Counter(row["job_id"] for row in rows)
    twice = [job for job, count in times.items() if count > 1]
    assert not twice, f"completed twice: {twice}"
    completed = {id_: job["attempt"] for id_, job in jobs.items() if job["status"] == "completed"}
    assert {row["job_id"]: row["attempt"] for row in rows} == completed


async def _counts_agree(pool: Pool, jobs: dict[UUID, dict[str, Any]]) -> None:
    (row,) = await pool.fetch("select * from public.get_queue_stats()")
    stats = dict(row)
    stats.pop("oldest_pending_seconds")
    counts = Counter(job["status"] for job in jobs.values())
    assert stats == {status: counts[status] for status in stats}


def _words_of(event: Event) -> tuple[str, UUID, int] | None:
    if event.type != "terminal":
        return None
    word, job, attempt = str(event.data["command"]).split()
    return word, UUID(job), int(attempt)


def _one_at_a_time(events: list[Event]) -> None:
    """Check that no attempt starts twice or reports anything after the project's next attempt has started."""
    current: tuple[UUID, int] | None = None
    begun: set[tuple[UUID, int]] = set()
    for word, job, attempt in filter(None, map(_words_of, events)):
        if word == "start":
            assert (job, attempt) not in begun, f"{job} attempt {attempt} started twice"
            begun.add((job, attempt))
            current = (job, attempt)
        else:
            assert current == (job, attempt), f"{job} attempt {attempt} reported after it was over"


def _in_order(jobs: list[dict[str, Any]], events: list[Event], touched: set[UUID]) -> None:
    """Check that a job's events precede those of every job that was enqueued after it.

    Skips jobs that were cancelled, retried or dead, because those lose their place.
    """
    first: dict[UUID, int] = {}
    last: dict[UUID, int] = {}
    moved = set(touched)
    for event in events:
        if reported := _words_of(event):
            first.setdefault(reported[1], event.seq)
            last[reported[1]] = event.seq
        elif event.type == "error" and event.job_id and not event.data["will_retry"]:
            moved.add(event.job_id)
    line = [job for job in jobs if job["id"] not in moved and job["id"] in first]
    for before, after in pairwise(line):
        theirs = [
            (event.seq, event.type, dict(event.data), event.created_at.isoformat())
            for event in events
            if event.job_id in (before["id"], after["id"])
        ]
        in_order = last[before["id"]] < first[after["id"]]
        assert in_order, f"{after} started before {before} had ended: {theirs}"
