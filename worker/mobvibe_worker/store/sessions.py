"""Sessions: conversations about projects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Record

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import (
    JobId,
    Platform,
    ProjectId,
    SessionId,
    SessionStatus,
    SessionSummary,
    UserId,
)
from mobvibe_worker.store.connection.rows import (
    CodingSessionsInsert,
    CodingSessionsRow,
    CodingSessionsUpdate,
)
from mobvibe_worker.store.connection.sql import Source, only, repeatable
from mobvibe_worker.store.tables import JOBS, PROJECTS, SESSIONS, sdk_of

_SUMMARIES = f"""
select {SESSIONS.columns("s")}, {PROJECTS.columns("p")}, {JOBS.columns("j")}
from public.coding_sessions s
join public.projects p on p.id = s.project_id and p.status <> 'deleted'
left join lateral (
  select * from public.coding_jobs
  where session_id = s.id order by created_at desc, id desc limit 1
) j on true
where s.user_id = $1
order by greatest(s.updated_at, j.updated_at) desc, s.id
limit $2
"""


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation. `last_seq` is the seq of its newest event, 0 before the first."""

    id: SessionId
    user_id: UserId
    project_id: ProjectId
    initial_prompt: str | None
    status: SessionStatus
    platform: Platform
    metro_url: str | None
    webview_url: str | None
    container_id: str | None
    expires_at: datetime
    last_seq: int
    created_at: datetime


class SessionStore:
    """Creates and finds sessions."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def create(
        self, project_id: ProjectId, prompt: str, platform: Platform = "mobile"
    ) -> SessionId:
        """Start a conversation about a project. Raises NotFound for an unknown project."""
        projects = await PROJECTS.find(self._source, "id = $1", project_id)
        if not projects:
            raise NotFound(f"There is no project {project_id}.")
        values = CodingSessionsInsert(
            project_id=project_id,
            user_id=projects[0].user_id,
            initial_prompt=prompt,
            platform=platform,
        )
        return SessionId((await SESSIONS.insert(self._source, values)).id)

    async def get(self, session_id: SessionId) -> Session:
        """One session. Raises NotFound."""
        rows = await SESSIONS.find(self._source, "id = $1", session_id)
        if not rows:
            raise NotFound(f"There is no session {session_id}.")
        return _session(rows[0])

    async def latest_of_project(self, project_id: ProjectId) -> SessionId | None:
        condition = "project_id = $1 order by created_at desc, id desc limit 1"
        rows = await SESSIONS.find(self._source, condition, project_id)
        return SessionId(rows[0].id) if rows else None

    async def summaries(self, user_id: UserId, limit: int = 50) -> list[SessionSummary]:
        return list(map(_summary, await repeatable(self._source, _SUMMARIES, user_id, limit)))

    async def set_preview(
        self,
        session_id: SessionId,
        metro_url: str | None,
        webview_url: str | None,
        container_id: str | None,
    ) -> None:
        """Record where the session's app is served; None if it is not."""
        values = CodingSessionsUpdate(
            metro_url=metro_url, webview_url=webview_url, container_id=container_id
        )
        await SESSIONS.change(self._source, session_id, values)

    async def unset_preview(self, session_id: SessionId, container_id: str) -> None:
        """Clear the addresses of that preview; those of a later one stay."""
        await repeatable(
            self._source,
            "update public.coding_sessions set metro_url = null, webview_url = null, container_id = null"
            " where id = $1 and container_id = $2",
            session_id,
            container_id,
        )

    async def take_home(self, session_id: SessionId, home_id: str) -> None:
        """Make this home the one that serves the session's app and announces its address."""
        await repeatable(
            self._source,
            "update public.coding_sessions set metadata = metadata || jsonb_build_object('home', $2::text)"
            " where id = $1 and metadata ->> 'home' is distinct from $2",
            session_id,
            home_id,
        )

    async def is_at_home(self, session_id: SessionId, home_id: str) -> bool:
        """Whether this home serves the session's app. A session without a home is given to the first that asks."""
        await repeatable(
            self._source,
            "update public.coding_sessions set metadata = metadata || jsonb_build_object('home', $2::text)"
            " where id = $1 and metadata ->> 'home' is null",
            session_id,
            home_id,
        )
        rows = await repeatable(
            self._source,
            "select metadata ->> 'home' = $2 from public.coding_sessions where id = $1",
            session_id,
            home_id,
        )
        return bool(rows) and only(rows, bool)


def _summary(record: Record) -> SessionSummary:
    session = SESSIONS.read_part(record)
    project = PROJECTS.read_part(record, len(SESSIONS))
    job = JOBS.read_part(record, len(SESSIONS) + len(PROJECTS))
    assert session is not None and project is not None
    return SessionSummary(
        id=SessionId(session.id),
        project=project.slug,
        title=project.name,
        sdk=sdk_of(project),
        job_id=JobId(job.id) if job else None,
        job_status=job.status if job else None,
        attempt=job.attempt if job else 0,
        activity_at=max(session.updated_at, job.updated_at) if job else session.updated_at,
    )


def _session(row: CodingSessionsRow) -> Session:
    return Session(
        id=SessionId(row.id),
        user_id=UserId(row.user_id),
        project_id=ProjectId(row.project_id),
        initial_prompt=row.initial_prompt,
        status=row.status,
        platform=row.platform,
        metro_url=row.metro_url,
        webview_url=row.webview_url,
        container_id=row.container_id,
        expires_at=row.expires_at,
        last_seq=row.last_seq,
        created_at=row.created_at,
    )
