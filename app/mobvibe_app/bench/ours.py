"""Our own queue, measured with the real Worker: beats, LISTEN, fencing and notifications on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from asyncpg import Pool

from mobvibe_app.bench.contender import OnStart
from mobvibe_app.bench.figures import OURS
from mobvibe_app.bench.server import run_sql
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.runner.running_job import Rhythm, RunningJob
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.connection.table import each
from mobvibe_worker.store.job_queue import JobQueue, NewJob
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.workers import WorkerRegistry

LEASE_SECONDS = 20.0
POLL_SECONDS = 10.0
_OWNER = "00000000-0000-4000-8000-000000000001"
_LINES = f"""
with made as (
  insert into public.projects (user_id, name, slug)
  select '{_OWNER}', 'bench', 'bench-' || n from generate_series(1, $1::integer) as n
  returning id, user_id
)
insert into public.coding_sessions (project_id, user_id, status)
select id, user_id, 'active' from made returning id
"""
_HISTORY = """
set session_replication_role = replica;
insert into public.coding_jobs
  (session_id, project_id, user_id, prompt, status, attempt, worker, result, created_at, started_at, completed_at)
select s.id, s.project_id, s.user_id, 'history', 'completed', 1, 'bench', '{{}}', t.at, t.at, t.at
from (select array_agg(c.id order by c.id) as ids from public.coding_sessions c) as every
  cross join generate_series(1, {rows}) as n
  cross join lateral (select now() - n * interval '1 second' as at) t
  join public.coding_sessions s on s.id = every.ids[1 + n % cardinality(every.ids)];
set session_replication_role = origin;
select private.recount_jobs()
"""


@dataclass(slots=True)
class OwnQueue:
    """Ours, in a migrated database with as many projects as may be needed, one session each."""

    dsn: str
    pool: Pool
    sessions: list[SessionId]
    name: str = OURS
    fewest_slots: int = 1
    _entered: int = 0

    async def enqueue(self, tag: int) -> None:
        """One prompt with its message event, into the lines in turn."""
        session = self.sessions[tag % len(self.sessions)]
        await JobQueue(self.pool).enqueue(session, str(tag))

    async def enqueue_bare(self, tag: int) -> None:
        """One job without the message event that a person's prompt gets."""
        session = self.sessions[tag % len(self.sessions)]
        await JobQueue(self.pool).enqueue_many([NewJob(session, str(tag))], messages=False)

    async def enqueue_batch(self, count: int, lines: int | None = None) -> None:
        """`count` jobs without message events, over `lines` projects; else each in another one, over all batches."""
        first, sessions = (0, self.sessions[:lines]) if lines else (self._entered, self.sessions)
        jobs = [NewJob(sessions[(first + n) % len(sessions)], str(n)) for n in range(count)]
        self._entered += count
        await JobQueue(self.pool).enqueue_many(jobs, messages=False)

    @asynccontextmanager
    async def working(self, slots: int, on_start: OnStart) -> AsyncIterator[None]:
        """The product's worker; the job's code only says that it started."""

        async def no_op(running: RunningJob) -> Mapping[str, Any]:
            on_start(int(running.job.prompt))
            return {}

        async with Listener(self.dsn) as listener:
            rhythm = Rhythm(lease=LEASE_SECONDS, poll=POLL_SECONDS, concurrency=slots)
            claims, registry = Claims(self.pool), WorkerRegistry(self.pool)
            worker = Worker(claims, registry, listener, no_op, rhythm)
            # A worker that dies ends the measurement with its error.
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run(), name="bench-worker")
                try:
                    yield
                finally:
                    worker.stop()

    async def unfinished(self) -> int:
        """By the index of live jobs."""
        sql = (
            "select (select count(*) from public.coding_jobs where status = 'pending')"
            " + (select count(*) from public.coding_jobs where status = 'processing')"
        )
        return int(await self.pool.fetchval(sql))

    async def clear(self) -> None:
        """All but the history."""
        await run_sql(
            self.dsn,
            "delete from public.coding_jobs where prompt <> 'history'",
            "vacuum public.coding_jobs",
            "vacuum public.coding_sessions",
            "vacuum public.projects",
        )


@asynccontextmanager
async def own_queue(dsn: str, lines: int, history: int = 0) -> AsyncIterator[OwnQueue]:
    """Our queue in an empty database: `lines` projects, and `history` finished jobs from the beginning on."""
    await MigrationRunner(dsn).migrate()
    pool = await open_pool(
        dsn, application_name="mobvibe-bench", command_seconds=1800, slow_seconds=60
    )
    try:
        made = each(await pool.fetch(_LINES, lines), UUID)
        if history:
            await run_sql(dsn, _HISTORY.format(rows=history))
        await run_sql(dsn, "vacuum analyze")
        yield OwnQueue(dsn, pool, [SessionId(one) for one in made])
    finally:
        await pool.close()
