"""The registry of running previews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import ProjectId, Provider, SessionId, UserId
from mobvibe_worker.store.connection.rows import (
    PreviewContainersInsert,
    PreviewContainersRow,
    PreviewContainersUpdate,
)
from mobvibe_worker.store.connection.sql import Source, Table, repeatable
from mobvibe_worker.store.rules import PreviewStatus
from mobvibe_worker.store.tables import PREVIEWS, SESSIONS

_BY_CONTAINER = Table("preview_containers", PreviewContainersRow, key="container_id")


_RUNNING = "status in ('starting', 'running')"
_OF_HOME = "container_id like '%-' || $1 || '-preview-%'"


def container_id(provider: Provider, home_id: str, slug: str) -> str:
    """The unique name of a project's preview in one home; for Docker also the container's name."""
    return f"{'mobvibe' if provider == 'docker' else provider}-{home_id}-preview-{slug}"


@dataclass(frozen=True, slots=True)
class Preview:
    """One Metro that runs or ran."""

    container_id: str
    session_id: SessionId
    project_id: ProjectId
    user_id: UserId
    provider: str
    metro_url: str
    status: PreviewStatus
    last_activity_at: datetime
    resource_usage: Mapping[str, Any]


class PreviewRegistry:
    """One row per preview, found by its `container_id`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def upsert(
        self,
        session_id: SessionId,
        project_id: ProjectId,
        provider: Provider,
        container_id: str,
        metro_url: str,
        status: PreviewStatus,
    ) -> None:
        """Record where a project is served, and its state. Raises NotFound for another project's session."""
        condition = "id = $1 and project_id = $2"
        sessions = await SESSIONS.find(self._source, condition, session_id, project_id)
        if not sessions:
            raise NotFound(f"Project {project_id} has no session {session_id}.")
        values = PreviewContainersInsert(
            session_id=session_id,
            project_id=project_id,
            user_id=sessions[0].user_id,
            provider=provider,
            container_id=container_id,
            metro_url=metro_url,
            status=status,
        )
        changes = ("session_id", "project_id", "user_id", "metro_url", "status")
        await _BY_CONTAINER.put(self._source, values, changes, "last_activity_at = now()")

    async def of_home(self, home_id: str) -> list[Preview]:
        rows = await PREVIEWS.find(self._source, f"{_OF_HOME} and {_RUNNING}", home_id)
        return [_preview(row) for row in rows]

    async def idle_of_home(self, home_id: str, longer_than: timedelta) -> list[Preview]:
        """This home's previews without a phone, and without a job of their project, for that long."""
        condition = (
            f"{_OF_HOME} and {_RUNNING} and last_activity_at < now() - $2::interval"
            " and not exists (select from public.coding_jobs j"
            " where j.project_id = preview_containers.project_id"
            " and (j.status in ('pending', 'processing') or j.updated_at > now() - $2::interval))"
        )
        rows = await PREVIEWS.find(self._source, condition, home_id, longer_than)
        return [_preview(row) for row in rows]

    async def measured(self, container_id: str, usage: Mapping[str, Any]) -> None:
        values = PreviewContainersUpdate(resource_usage=dict(usage))
        await _BY_CONTAINER.change(self._source, container_id, values)

    async def touch(self, container_id: str) -> None:
        """Record that it is in use, so that its idle time starts again."""
        await repeatable(
            self._source,
            "update public.preview_containers set last_activity_at = now() where container_id = $1",
            container_id,
        )

    async def stopped(self, container_id: str, status: PreviewStatus = "stopped") -> None:
        values = PreviewContainersUpdate(status=status)
        await _BY_CONTAINER.change(self._source, container_id, values)


def _preview(row: PreviewContainersRow) -> Preview:
    return Preview(
        container_id=row.container_id,
        session_id=SessionId(row.session_id),
        project_id=ProjectId(row.project_id),
        user_id=UserId(row.user_id),
        provider=row.provider,
        metro_url=row.metro_url,
        status=row.status,
        last_activity_at=row.last_activity_at,
        resource_usage=row.resource_usage,
    )
