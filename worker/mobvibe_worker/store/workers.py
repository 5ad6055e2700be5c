"""Who is alive: the registry of workers."""

from __future__ import annotations

from dataclasses import dataclass

from mobvibe_worker.jobs import WorkerId
from mobvibe_worker.store.connection.execute import Source, repeatable
from mobvibe_worker.store.connection.rows import WorkersInsert, WorkersRow
from mobvibe_worker.store.connection.table import RowSet

WORKERS = RowSet("workers", WorkersRow)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A worker that shares a host, and which process it is there."""

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
        host_key: str = "",
        process_started: str = "",
    ) -> None:
        """Say that this worker is alive."""
        values = WorkersInsert(
            id=worker,
            host=host,
            pid=pid,
            version=version,
            slots=slots,
            host_key=host_key,
            process_started=process_started,
        )
        also = "last_heartbeat_at = now(), gone_at = null"
        await WORKERS.put(self._source, values, ("slots",), also)

    async def neighbours(self, host_key: str) -> list[Neighbour]:
        """The workers of a host that did not say that they stopped."""
        condition = "host_key = $1 and gone_at is null order by started_at, id"
        rows = await WORKERS.find(self._source, condition, host_key)
        return [Neighbour(WorkerId(row.id), row.pid, row.process_started) for row in rows]

    async def gone(self, worker: WorkerId) -> None:
        """Say that this worker stopped: with a last heartbeat, which one that was seen dead lacks."""
        await repeatable(
            self._source,
            "update public.workers set gone_at = now(), last_heartbeat_at = now() where id = $1",
            worker,
        )
