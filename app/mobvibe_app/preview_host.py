"""Mirrors head revisions from Postgres into served folders, hosts their Metro, and says when one is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from mobvibe_app.changes import PreviewAddress
from mobvibe_app.environment.environment import Environment
from mobvibe_app.served_project import ServedProject
from mobvibe_worker.errors import MobvibeError, NotFound, StoreError
from mobvibe_worker.events import PreviewReady
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, ProjectId, SessionId
from mobvibe_worker.revisions import Revision
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.listener import Listener
from mobvibe_worker.store.previews import PreviewRegistry
from mobvibe_worker.store.projects import Project, ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore

log = logging.getLogger(__name__)
HEAD_CHANNEL = "project_head"
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PreviewStores:
    """What a preview host reads and writes in Postgres."""

    projects: ProjectStore
    sessions: SessionStore
    revisions: RevisionStore
    queue: JobQueue
    events: EventLog
    registry: PreviewRegistry


@dataclass(slots=True)
class PreviewHost:
    """Every client of a home may `open` a preview (that is idempotent); only its host runs `mirror`."""

    home: Home
    stores: PreviewStores
    environment: Environment
    listener: Listener
    _projects: dict[ProjectId, ServedProject] = field(default_factory=dict)
    _watching: dict[ProjectId, asyncio.Task[None]] = field(default_factory=dict)

    async def open(self, session_id: SessionId) -> PreviewAddress | None:
        """Publish the head of the session's project and serve it; None while it has no app yet.

        Raises ServiceError where the preview cannot start.
        """
        session = await self.stores.sessions.get(session_id)
        project = await self.stores.projects.get(session.project_id)
        revision = await self._served(project).publish_head()
        if revision is None or revision.source == "template":
            return None
        return await self._serve(project, session_id)

    async def mirror(self) -> None:
        """Keep every project of this home in step with its head, until cancelled."""
        async with asyncio.TaskGroup() as group:
            async for project_id in self.listener.subscribe(HEAD_CHANNEL):
                for project in await self._moved(project_id):
                    await self._follow_head(project, group)

    async def _moved(self, payload: str) -> list[Project]:
        """The projects whose head may have moved: one, or after a gap in the notifications all served ones."""
        try:
            if payload:
                return [await self.stores.projects.get(ProjectId(UUID(payload)))]
            projects = await self.stores.projects.list(LOCAL_OWNER)
        except NotFound:
            return []
        except StoreError as error:
            log.warning("heads cannot be read: %s", error)
            return []
        return [project for project in projects if self._served(project).is_published]
