"""The registry of running previews."""

from __future__ import annotations

from typing import Literal

from asyncpg import Pool

from mobvibe_worker.jobs import ProjectId, SessionId
from mobvibe_worker.store.calls import repeatable

PreviewProvider = Literal["docker", "process", "railway"]
PreviewStatus = Literal["starting", "running", "stopped", "error"]


class PreviewRegistry:
    """One row per preview, found by `container_id`: a container's id, or a process's name."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def upsert(
        self,
        session_id: SessionId,
        project_id: ProjectId,
        provider: PreviewProvider,
        container_id: str,
        metro_url: str,
        status: PreviewStatus,
    ) -> None:
        """Say where a project is served, and how it fares."""
        await repeatable(
            self._pool,
            "insert into public.preview_containers"
            " (session_id, project_id, user_id, provider, container_id, metro_url, status)"
            " select s.id, s.project_id, s.user_id, $3, $4, $5, $6 from public.coding_sessions s"
            " where s.id = $1 and s.project_id = $2"
            " on conflict (container_id) do update set session_id = excluded.session_id,"
            " project_id = excluded.project_id, user_id = excluded.user_id,"
            " metro_url = excluded.metro_url, status = excluded.status, last_activity_at = now()",
            session_id,
            project_id,
            provider,
            container_id,
            metro_url,
            status,
        )

    async def touch(self, container_id: str) -> None:
        """It is in use: idle clean-up starts counting anew."""
        await repeatable(
            self._pool,
            "update public.preview_containers set last_activity_at = now() where container_id = $1",
            container_id,
        )

    async def stopped(self, container_id: str, status: PreviewStatus = "stopped") -> None:
        """It serves no longer."""
        await repeatable(
            self._pool,
            "update public.preview_containers set status = $2 where container_id = $1",
            container_id,
            status,
        )
