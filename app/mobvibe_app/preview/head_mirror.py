"""Mirrors head revisions from Postgres into served folders, hosts their Metro, and says when one is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.served_project import InStep, ServedProject
from mobvibe_app.status import ServiceStatus
from mobvibe_worker.errors import MobvibeError, NotFound, ServiceError, StoreError
from mobvibe_worker.events import PreviewReady
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, Platform, ProjectId, SessionId
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.previews import container_id
from mobvibe_worker.store.projects import Project
from mobvibe_worker.store.stores import Stores
from mobvibe_worker.toolchain.metro import MetroClient
from mobvibe_worker.workspace.publish import ServedFolder

if TYPE_CHECKING:
    from mobvibe_app.preview.reconcile import PreviewUpkeep

log = logging.getLogger(__name__)

HEAD_CHANNEL = "project_head"
RETRY_SECONDS = 2.0
WEB_SECONDS = 300.0
"""The most that the first bundle of a web page may take."""
Serve = Callable[[SessionId, str, int, Platform], Awaitable[PreviewAddress]]
"""(session, project's slug, SDK, platform) -> the address of its Metro: Environment.serve."""


@dataclass(slots=True)
class PreviewHost:
    """Every client of a home may `open` a preview (again is harmless); only its host runs `mirror`."""

    home: Home
    stores: Stores
    serve: Serve
    listener: Listener
    tell: Callable[[ServiceStatus], None]
    upkeep: PreviewUpkeep
    _projects: dict[ProjectId, ServedProject] = field(default_factory=dict)
    _watched: set[ProjectId] = field(default_factory=set)
    _troubles: dict[ProjectId, str] = field(default_factory=dict)

    async def open(self, session_id: SessionId) -> PreviewAddress | None:
        """Serve the head of the session's project; None while it has no app yet.

        Raises ServiceError where the preview cannot start.
        """
        session = await self.stores.sessions.get(session_id)
        project = await self.stores.projects.get(session.project_id)
        try:
            shown = await self._served(project).bring_to_head()
            if shown is None or shown.revision.source == "template":
                return None
            return await self._serve(project, session_id)
        except OSError as error:
            raise ServiceError(
                f"The preview of {project.slug} cannot start: {error}.",
                "See what is in the way there; the project itself is safe.",
            ) from error

    async def mirror(self) -> None:
        """Keep the projects of this home in step with their heads and their previews cared for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.upkeep.run(self._serve))
            async for payload in self.listener.subscribe(HEAD_CHANNEL):
                for project in await self._moved(payload):
                    group.create_task(self._follow_head(project, is_new=bool(payload)))
                    if project.id not in self._watched:
                        self._watched.add(project.id)
                        group.create_task(self._watch(project))

    async def _moved(self, payload: str) -> list[Project]:
        """One project whose head moved; after a gap in the notifications all that are served here."""
        try:
            if payload:
                return [await self.stores.projects.get(ProjectId(UUID(payload)))]
            projects = await self.stores.projects.list(LOCAL_OWNER)
        except NotFound:
            return []
        except StoreError as error:
            log.warning("heads cannot be read: %s", error)
            return []
        return [project for project in projects if self._served(project).folder.is_published]

    async def _follow_head(self, project: Project, *, is_new: bool) -> None:
        """`is_new`: the head moved just now; else it may have been there for long."""
        try:
            shown = await self._served(project).bring_to_head()
            if shown is not None:
                await self._announce(project, shown, is_new=is_new)
            self._troubles.pop(project.id, None)
        except (MobvibeError, OSError) as error:
            self._tell_trouble(project, error)

    def _tell_trouble(self, project: Project, error: MobvibeError | OSError) -> None:
        """Once for each trouble, however often it is met."""
        message, remedy = str(error), "See what is in the way there; the project itself is safe."
        if isinstance(error, MobvibeError):
            message, remedy = error.message, error.remedy
        if self._troubles.get(project.id) == message:
            return
        self._troubles[project.id] = message
        log.warning("the served folder of %s: %s", project.slug, error)
        self.tell(ServiceStatus("preview", "failed", f"{project.slug}: {message}", remedy))

    async def _watch(self, project: Project) -> None:
        served = self._served(project)
        while True:
            try:
                await asyncio.to_thread(served.folder.root.mkdir, parents=True, exist_ok=True)
                async for shown in served.watch():
                    await self._announce(project, shown, is_new=True)
                    self._troubles.pop(project.id, None)
            except (MobvibeError, OSError) as error:
                self._tell_trouble(project, error)
            await self._follow_head(project, is_new=False)
            await asyncio.sleep(RETRY_SECONDS)

    async def _announce(self, project: Project, shown: InStep, *, is_new: bool) -> None:
        """Serve the first look of a revision that the agent made, and say so once."""
        session_id = await self.stores.sessions.latest_of_project(project.id)
        if session_id is None:
            return
        if shown.edits:
            await self.stores.events.append(session_id, shown.edits)
        revision = str(shown.revision.id)
        is_template = shown.revision.source == "template"
        if self._served(project).folder.is_replaced or (is_template and is_new):
            await self._serve(project, session_id, is_app=not is_template)
        if shown.revision.source != "agent":
            return
        if not await self.stores.sessions.is_at_home(session_id, self.upkeep.home_id):
            return
        if await self.stores.events.tells_preview(session_id, revision):
            return
        preview = await self._serve(project, session_id)
        ready = PreviewReady(preview.url, project.sdk, revision)
        await self.stores.events.append(session_id, [ready], job_id=shown.revision.job_id)

    async def _serve(
        self, project: Project, session_id: SessionId, *, is_app: bool = True
    ) -> PreviewAddress:
        """Start the project's Metro; the session shows its address once there is an app to see.

        Only the session's own home writes it down there: another home's phone may not reach it.
        """
        session = await self.stores.sessions.get(session_id)
        preview = await self.serve(session_id, project.slug, project.sdk, session.platform)
        self.upkeep.watches.watch(preview)
        home_id = self.upkeep.home_id
        name = container_id(preview.provider, home_id, project.slug)
        await self.stores.previews.upsert(
            session_id, project.id, preview.provider, name, preview.web_url, "running"
        )
        if is_app and await self.stores.sessions.is_at_home(session_id, home_id):
            await self.stores.sessions.set_preview(
                session_id, preview.web_url, preview.web_url, name
            )
        if is_app and session.platform == "web":
            await _check_page(preview)
        return preview

    def _served(self, project: Project) -> ServedProject:
        if project.id not in self._projects:
            folder = ServedFolder(self.home.sdk(project.sdk).served(project.slug))
            self._projects[project.id] = ServedProject(project.id, folder, self.stores.revisions)
        return self._projects[project.id]


async def _check_page(preview: PreviewAddress) -> None:
    """The page and its script are there before anybody opens them. Raises ServiceError."""
    async with MetroClient(urlsplit(preview.web_url).port or 80) as client:
        bundle = await client.bundle(await client.web_bundle_url(), time_limit=WEB_SECONDS)
    if not bundle.is_green:
        raise ServiceError(
            f"The web version of {preview.slug} does not compile.",
            f"See `mobvibe-tui logs preview-{preview.slug}`, or describe the problem in a prompt.",
        )
