"""The registry of workers: heartbeats, which workers are alive or lost, and what each runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from asyncpg import Record

from mobvibe_worker.jobs import JobId, WorkerId, WorkerSummary, WorkLine
from mobvibe_worker.store.connection.rows import WorkersInsert
from mobvibe_worker.store.connection.sql import Source, repeatable
from mobvibe_worker.store.tables import JOBS, PROJECTS, WORKERS

LOST_AFTER = timedelta(seconds=30)
"""A worker counts as lost after this silence. Workers send a heartbeat every ten seconds or more often."""
LOST_SHOWN = timedelta(minutes=10)
MOST_WORKERS = 50
# A worker that stops cleanly sends a last heartbeat; one that was found dead sends none.
_SUMMARIES = f"""
select {WORKERS.columns("w")},
       w.gone_at is not null or w.last_heartbeat_at < now() - $1::interval as is_lost,
       {JOBS.columns("j")}, {PROJECTS.columns("p")}
from (
  select seen.*, exists (
    select from public.coding_jobs
    where status = 'processing' and worker = seen.id
  ) as is_busy
  from public.workers seen
  where seen.last_heartbeat_at > now() - $2::interval
    and (seen.gone_at is null or seen.gone_at > seen.last_heartbeat_at)
  order by seen.gone_at is not null or seen.last_heartbeat_at < now() - $1::interval,
    is_busy desc, seen.last_heartbeat_at desc, seen.id
  limit $3
) w
left join public.coding_jobs j on j.status = 'processing' and j.worker = w.id
left join public.projects p on p.id = j.project_id
order by is_lost, w.is_busy desc, w.last_heartbeat_at desc, w.id, j.started_at, j.id
"""


@dataclass(frozen=True, slots=True)
class LocalWorker:
    """A worker of the same machine, and its process there."""

    id: WorkerId
    pid: int
    process_started: str


class WorkerRegistry:
    """One row per worker, with its last heartbeat."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def beat(
        self,
        worker: WorkerId,
        *,
        host: str,
        pid: int,
        version: str,
        slots: int,
        machine_key: str = "",
        process_started: str = "",
    ) -> None:
        values = WorkersInsert(
            id=worker,
            host=host,
            pid=pid,
            version=version,
            slots=slots,
            machine_key=machine_key,
            process_started=process_started,
        )
        also = "last_heartbeat_at = now(), gone_at = null"
        await WORKERS.put(self._source, values, ("slots",), also)

    async def of_machine(self, machine_key: str) -> list[LocalWorker]:
        """The workers of a machine that have not reported their end."""
        condition = "machine_key = $1 and gone_at is null order by started_at, id"
        rows = await WORKERS.find(self._source, condition, machine_key)
        return [LocalWorker(WorkerId(row.id), row.pid, row.process_started) for row in rows]

    async def gone(self, worker: WorkerId) -> None:
        """Record that this worker stopped cleanly, with a last heartbeat."""
        await repeatable(
            self._source,
            "update public.workers set gone_at = now(), last_heartbeat_at = now() where id = $1",
            worker,
        )

    async def summaries(self) -> list[WorkerSummary]:
        """Busy workers first, then idle ones, then lost ones of the last ten minutes."""
        rows = await repeatable(self._source, _SUMMARIES, LOST_AFTER, LOST_SHOWN, MOST_WORKERS)
        by_worker = groupby(rows, key=lambda record: record[0])
        return [_summary(list(records)) for _, records in by_worker]


def _summary(records: Sequence[Record]) -> WorkerSummary:
    worker = WORKERS.read_part(records[0])
    assert worker is not None
    return WorkerSummary(
        id=WorkerId(worker.id),
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        slots=worker.slots,
        started_at=worker.started_at,
        last_heartbeat_at=worker.last_heartbeat_at,
        is_lost=records[0][len(WORKERS)],
        work=tuple(work for work in map(_work, records) if work),
    )


def _work(record: Record) -> WorkLine | None:
    start = len(WORKERS) + 1
    job = JOBS.read_part(record, start)
    project = PROJECTS.read_part(record, start + len(JOBS))
    if job is None or project is None or job.started_at is None:
        return None
    return WorkLine(JobId(job.id), project.slug, job.attempt, job.started_at)
