"""Who is alive: the registry of workers."""

from __future__ import annotations

from dataclasses import dataclass

from mobvibe_worker.jobs import WorkerId
from mobvibe_worker.store.calls import Source, repeatable


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
        await repeatable(
            self._source,
            "insert into public.workers (id, host, pid, version, slots, host_key, process_started)"
            " values ($1, $2, $3, $4, $5, $6, $7)"
            " on conflict (id) do update set last_heartbeat_at = now(), slots = excluded.slots,"
            " gone_at = null",
            worker,
            host,
            pid,
            version,
            slots,
            host_key,
            process_started,
        )

    async def neighbours(self, host_key: str) -> list[Neighbour]:
        """The workers of a host that did not say that they stopped."""
        rows = await repeatable(
            self._source,
            "select id, pid, process_started from public.workers"
            " where host_key = $1 and gone_at is null order by started_at, id",
            host_key,
        )
        return [Neighbour(WorkerId(row["id"]), row["pid"], row["process_started"]) for row in rows]

    async def gone(self, worker: WorkerId) -> None:
        """Say that this worker stopped: with a last heartbeat, which one that was seen dead lacks."""
        await repeatable(
            self._source,
            "update public.workers set gone_at = now(), last_heartbeat_at = now() where id = $1",
            worker,
        )
