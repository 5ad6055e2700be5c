"""The real queue beside its plain model: calls both and compares them after each step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from asyncpg import Pool
from hypothesis.stateful import RuleBasedStateMachine, invariant

from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from support.queue.model import Claim, ModelQueue, Refused

T = TypeVar("T")

_JOBS = """
select id, status, attempt, retry_count, priority, is_head, worker, cancel_requested,
       run_at is not null as is_deferred
from public.coding_jobs order by id
"""
_SESSIONS = """
select s.id, s.status, s.last_seq, count(e.seq) as events, coalesce(max(e.seq), 0) as newest
from public.coding_sessions s left join public.session_events e on e.session_id = s.id
group by s.id
"""
_REGISTER = """
insert into public.workers (id, host, pid, version, slots, machine_key)
select name, 'here', 1, '0', 1, 'this host' from unnest(array['ada', 'bob', 'cyd']) as name
on conflict do nothing
"""


class ComparedQueue(RuleBasedStateMachine):
    """An empty queue, its model, and the invariants that hold after every step."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        super().__init__()
        self.loop, self.pool = loop, pool
        self.queue, self.workers, self.events = JobQueue(pool), Claims(pool), EventLog(pool)
        self.model = ModelQueue()
        self.sessions: dict[UUID, UUID] = {}
        self.claims: list[Claim] = []
        self.entered = 0
        self.run(pool.execute("delete from public.projects"))
        self.run(pool.execute(_REGISTER))

    def run(self, call: Awaitable[T]) -> T:
        """Return the result of a call to the real queue."""
        return self.loop.run_until_complete(call)

    def refused_alike(
        self, real: Callable[[], Awaitable[T]], model: Callable[[], T], *errors: type[Exception]
    ) -> T | None:
        """Return the result of both; None if both refuse, the real queue with one of `errors`."""
        try:
            expected = model()
        except Refused:
            try:
                answer = self.run(real())
            except errors:
                return None
            raise AssertionError(f"must be refused, but returned {answer!r}") from None
        answer = self.run(real())
        assert answer == expected, (answer, expected)
        return answer

    @invariant()
    def jobs_agree(self) -> None:
        """The jobs equal the model's. Each project with live jobs has one head and at most one running job."""
        rows = {row["id"]: dict(row) for row in self.run(self.pool.fetch(_JOBS))}
        assert rows.keys() == self.model.jobs.keys()
        for job_id, row in rows.items():
            job = self.model.jobs[job_id]
            expected = {
                "id": job.id,
                "status": job.status,
                "attempt": job.attempt,
                "retry_count": job.retry_count,
                "priority": job.priority,
                "is_head": job.is_head,
                "worker": job.worker,
                "cancel_requested": job.cancel_requested,
                "is_deferred": job.run_at is not None,
            }
            assert row == expected
        for project in set(self.sessions.values()):
            mine = [job for job in self.model.jobs.values() if job.project == project]
            rests = project in self.model.deleted
            may_be_head = [j.status == "processing" if rests else j.is_live for j in mine]
            assert sum(rows[job.id]["is_head"] for job in mine) == any(may_be_head)
            assert sum(rows[job.id]["status"] == "processing" for job in mine) <= 1

    @invariant()
    def stats_agree(self) -> None:
        """The counters equal the model's counts."""
        stats, counts = self.run(self.queue.stats()), self.model.counts()
        for status in ("pending", "processing", "completed", "failed", "cancelled"):
            assert getattr(stats, status) == counts[status], (status, stats, counts)
        ages = [
            job.entered
            for job in self.model.jobs.values()
            if job.status == "pending" and job.project not in self.model.deleted
        ]
        assert (stats.oldest_pending_seconds is not None) == bool(ages)

    @invariant()
    def sessions_agree(self) -> None:
        """The sessions' statuses equal the model's, and their events have no gaps."""
        rows = self.run(self.pool.fetch(_SESSIONS))
        assert {row["id"]: row["status"] for row in rows} == self.model.session_status
        for row in rows:
            assert row["last_seq"] == row["events"] == row["newest"]

    def session_at(self, pick: int) -> UUID:
        return list(self.sessions)[pick % len(self.sessions)]

    def job_at(self, pick: int) -> UUID:
        return _mostly(list(self.model.jobs), [], pick)

    def ended_job_at(self, pick: int) -> UUID:
        """Any job, usually a failed or cancelled one."""
        jobs = self.model.jobs
        ended = [job for job in jobs if jobs[job].status in ("failed", "cancelled")]
        return _mostly(list(jobs), ended, pick)

    def claim_at(self, pick: int) -> Claim:
        """Any claim, usually a current one."""
        return _mostly(self.claims, [each for each in self.claims if self.model.holds(each)], pick)


def _mostly(everything: Sequence[T], preferred: Sequence[T], pick: int) -> T:
    chosen = preferred if preferred and pick % 4 else everything
    return chosen[(pick // 4) % len(chosen)]
