"""Who is alive: the registry of workers."""

from __future__ import annotations

from mobvibe_worker.jobs import WorkerId
from mobvibe_worker.store.calls import Source, repeatable


class WorkerRegistry:
    """One row per worker, with its last heartbeat."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def beat(
        self, worker: WorkerId, *, host: str, pid: int, version: str, slots: int
    ) -> None:
        """Say that this worker is alive."""
        await repeatable(
            self._source,
            "insert into public.workers (id, host, pid, version, slots) values ($1, $2, $3, $4, $5)"
            " on conflict (id) do update set last_heartbeat_at = now(), slots = excluded.slots,"
            " gone_at = null",
            worker,
            host,
            pid,
            version,
            slots,
        )

    async def gone(self, worker: WorkerId) -> None:
        """Say that this worker stopped."""
        await repeatable(
            self._source, "update public.workers set gone_at = now() where id = $1", worker
        )
