"""Our own queue with the real worker, on the path of a build: enqueue, claim, complete_attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Pool

from mobvibe_app.bench.contender import Watcher
from mobvibe_app.bench.figures import OURS
from mobvibe_app.bench.server import run_sql
from mobvibe_worker.jobs import Prompt, SessionId
from mobvibe_worker.revisions import CHECK_NAMES, Check, CheckReport, FileTree
from mobvibe_worker.runner.running_job import RunningJob, WorkerTimings
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.claims import FinishedWork
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.connection.sql import each
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.stores import Stores

LEASE_SECONDS = 20.0
POLL_SECONDS = 10.0
_GREEN = CheckReport(tuple(Check(name, True, 0.0) for name in CHECK_NAMES))
_OWNER = "00000000-0000-4000-8000-000000000001"
_PROJECTS = f"""
with made as (
  insert into public.projects (user_id, name, slug)
  select '{_OWNER}', 'bench', 'bench-' || n from generate_series(1, $1::integer) as n
  returning id, user_id
)
insert into public.coding_sessions (project_id, user_id, status)
select id, user_id, 'active' from made returning id
"""
_FILES: FileTree = {"App.tsx": b"export default () => null;"}
_HEADS = """
select public.commit_person(p.id, null, array['App.tsx'], array[sha256($1)], array[$1]) from public.projects p
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
    """Ours, in a migrated database with one session in each of its projects."""

    dsn: str
    pool: Pool
    sessions: list[SessionId]
    name: str = OURS
    fewest_slots: int = 1

    async def enqueue(self, tag: int) -> None:
        """Enqueue one prompt with its message event, into the projects in turn."""
        session = self.sessions[tag % len(self.sessions)]
        await JobQueue(self.pool).enqueue(session, Prompt(str(tag)))

    @asynccontextmanager
    async def working(self, slots: int, watcher: Watcher) -> AsyncIterator[None]:
        """Run the product's worker. A job does nothing, and is completed as a build is: with a new revision."""
        stores = Stores(self.pool)

        async def build(running: RunningJob) -> None:
            tag = int(running.job.prompt)
            watcher.on_start(tag)
            head = await stores.revisions.head(running.job.project_id)
            assert head is not None
            await stores.claims.complete(running.attempt, FinishedWork(_FILES, head[0].id, _GREEN))
            watcher.on_end(tag)

        async with Listener(self.dsn) as listener:
            timings = WorkerTimings(lease=LEASE_SECONDS, poll=POLL_SECONDS, concurrency=slots)
            worker = Worker(stores, listener, build, timings)
            # A worker that dies ends the measurement with its error.
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run(), name="bench-worker")
                try:
                    yield
                finally:
                    worker.stop()

    async def unfinished(self) -> int:
        """Count by status, so that the indexes of live jobs are used."""
        sql = (
            "select (select count(*) from public.coding_jobs where status = 'pending')"
            " + (select count(*) from public.coding_jobs where status = 'processing')"
        )
        return int(await self.pool.fetchval(sql))

    async def clear(self) -> None:
        await run_sql(
            self.dsn,
            "delete from public.coding_jobs where prompt <> 'history'",
            "vacuum public.coding_jobs",
            "vacuum public.coding_sessions",
            "vacuum public.projects",
        )


@asynccontextmanager
async def own_queue(dsn: str, projects: int, history: int = 0) -> AsyncIterator[OwnQueue]:
    """Our queue in an empty database, which first gets `history` finished jobs."""
    await MigrationRunner(dsn).migrate()
    pool = await open_pool(
        dsn, application_name="mobvibe-bench", command_seconds=1800, slow_seconds=60
    )
    try:
        made = each(await pool.fetch(_PROJECTS, projects), UUID)
        await pool.execute(_HEADS, _FILES["App.tsx"])
        if history:
            await run_sql(dsn, _HISTORY.format(rows=history))
        await run_sql(dsn, "vacuum analyze")
        yield OwnQueue(dsn, pool, [SessionId(one) for one in made])
    finally:
        await pool.close()
