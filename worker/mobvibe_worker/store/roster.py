"""Which workers there are, who of them is lost, and what each has in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from asyncpg import Record

from mobvibe_worker.jobs import JobId, WorkerId
from mobvibe_worker.store.connection.execute import Source, repeatable
from mobvibe_worker.store.connection.rows import CodingJobsRow
from mobvibe_worker.store.connection.table import RowSet
from mobvibe_worker.store.projects import PROJECTS
from mobvibe_worker.store.workers import WORKERS

LOST_AFTER = timedelta(seconds=30)
"""Silent for so long, a worker counts as lost; workers say that they live every ten seconds, or more often."""
LOST_SHOWN = timedelta(minutes=10)
MOST_WORKERS = 50
_JOBS = RowSet("coding_jobs", CodingJobsRow)
# Who ends well says so with a last heartbeat; who was seen dead was not heard again.
_WORKERS = f"""
select {WORKERS.columns("w")},
       w.gone_at is not null or w.last_heartbeat_at < now() - $1::interval as is_lost,
       {_JOBS.columns("j")}, {PROJECTS.columns("p")}
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
class WorkInHand:
    """A job that a worker runs now."""

    job_id: JobId
    project: str
    attempt: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker that lives, or was lost a little while ago."""

    id: WorkerId
    host: str
    pid: int
    version: str
    slots: int
    started_at: datetime
    last_heartbeat_at: datetime
    is_lost: bool
    work: tuple[WorkInHand, ...]


class Roster:
    """Reads what workers say of themselves."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def read(self) -> list[SeenWorker]:
        """The busy ones first, then who waits, then who is lost; lost ones leave after ten minutes."""
        rows = await repeatable(self._source, _WORKERS, LOST_AFTER, LOST_SHOWN, MOST_WORKERS)
        by_worker = groupby(rows, key=lambda record: record[0])
        return [_seen(list(records)) for _, records in by_worker]


def _seen(records: Sequence[Record]) -> SeenWorker:
    worker = WORKERS.read_part(records[0])
    assert worker is not None
    return SeenWorker(
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


def _work(record: Record) -> WorkInHand | None:
    start = len(WORKERS) + 1
    job = _JOBS.read_part(record, start)
    project = PROJECTS.read_part(record, start + len(_JOBS))
    if job is None or project is None or job.started_at is None:
        return None
    return WorkInHand(JobId(job.id), project.slug, job.attempt, job.started_at)
