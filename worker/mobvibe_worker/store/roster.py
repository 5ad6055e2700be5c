"""Which workers there are, who of them is lost, and what each has in hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mobvibe_worker.jobs import JobId, WorkerId
from mobvibe_worker.store.calls import Source, repeatable

LOST_AFTER = timedelta(seconds=30)
"""Silent for so long, a worker counts as lost; workers say that they live every ten seconds, or more often."""
LOST_SHOWN = timedelta(minutes=10)
MOST_WORKERS = 50
# Who ends well says so with a last heartbeat; who was seen dead was not heard again.
_WORKERS = """
select w.id, w.host, w.pid, w.version, w.slots, w.started_at, w.last_heartbeat_at,
       w.gone_at is not null or w.last_heartbeat_at < now() - $1::interval as is_lost,
       coalesce(busy.jobs, '[]') as jobs
from public.workers w
left join (
  select j.worker, jsonb_agg(
    jsonb_build_object(
      'id', j.id, 'project', p.slug, 'attempt', j.attempt, 'started_at', j.started_at
    ) order by j.started_at
  ) as jobs
  from public.coding_jobs j join public.projects p on p.id = j.project_id
  where j.status = 'processing'
  group by j.worker
) busy on busy.worker = w.id
where w.last_heartbeat_at > now() - $2::interval
  and (w.gone_at is null or w.gone_at > w.last_heartbeat_at)
order by is_lost, busy.jobs is null, w.last_heartbeat_at desc, w.id
limit $3
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
        return [SeenWorker(**_without_jobs(row), work=_work(row["jobs"])) for row in rows]


def _without_jobs(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "jobs"}


def _work(jobs: list[dict[str, Any]]) -> tuple[WorkInHand, ...]:
    return tuple(
        WorkInHand(
            JobId(UUID(job["id"])),
            job["project"],
            job["attempt"],
            datetime.fromisoformat(job["started_at"]),
        )
        for job in jobs
    )
