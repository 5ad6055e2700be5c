"""Mirrors head revisions from Postgres into served folders, serves them, and announces each revision once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID
from weakref import WeakSet

from mobvibe_app.preview.served_project import Served, ServedProject
from mobvibe_app.preview.status import preview_status
from mobvibe_app.status import OnStatus
from mobvibe_worker.errors import MobvibeError, NotFound, ServiceError, StoreError
from mobvibe_worker.events import PreviewReady
from mobvibe_worker.jobs import Platform, ProjectId, RevisionId, SessionId, UserId
from mobvibe_worker.store.previews import container_id
from mobvibe_worker.toolchain.metro import MetroClient
from mobvibe_worker.workspace.publish import ServedFolder

if TYPE_CHECKING:
    from mobvibe_app.preview.address import PreviewAddress
    from mobvibe_app.preview.monitor import PreviewMonitor
    from mobvibe_worker.home import Home
    from mobvibe_worker.revisions import Revision
    from mobvibe_worker.store.connection.listener import Listener, Subscription
    from mobvibe_worker.store.projects import Project
    from mobvibe_worker.store.stores import Stores

    Serve = Callable[[SessionId, str, int, Platform], Awaitable[PreviewAddress]]
    """Previews.serve: (session, project's slug, SDK, platform) -> the address of the project's Metro."""

log = logging.getLogger(__name__)

HEAD_CHANNEL = "project_head"
RETRY_SECONDS = 2.0
WEB_SECONDS = 300.0
"""The longest time that the first bundle of a web page may take."""


@dataclass(slots=True)
class HeadMirror:
    """Every client of a home may `open` a preview. Only the home's host runs `run`."""

    home: Home
    home_id: str
    owner: UserId
    stores: Stores
    serve_folder: Serve
    listener: Listener
    monitor: PreviewMonitor
    on_status: OnStatus
    _reported: MobvibeError | None = None
    """The failed start that was reported last."""
    _projects: dict[ProjectId, ServedProject] = field(default_factory=dict)
    _followers: WeakSet[Subscription] = field(default_factory=WeakSet)
    """The subscriptions of `heads`, notified once `run` has served a head, so that a failed `open` is repeated."""

    async def open(self, session_id: SessionId, *, again: bool = False) -> PreviewAddress | None:
        """Serve the head of the session's project, or return where it is served. None if it has no app yet.

        With `again` it is started even if it was just served. Reports and raises a MobvibeError if it cannot start.
        """
        slug = ""
        try:
            session = await self.stores.sessions.get(session_id)
            project = await self.stores.projects.get(session.project_id)
            slug = project.slug
            return await self._open(project, session_id, again=again)
        except MobvibeError as error:
            self._report_failure(slug, error)
            raise

    async def _open(
        self, project: Project, session_id: SessionId, *, again: bool
    ) -> PreviewAddress | None:
        mirrored = self._mirrored(project)
        async with mirrored.lock:
            try:
                head = await mirrored.bring_to_head()
                if head is None or head.source == "template":
                    return None
                served = None if again else self._current(project, session_id, head)
                if served is not None:
                    return served
                started = await self._serve(project, session_id, head.id)
            except OSError as error:
                raise ServiceError(
                    f"The preview of {project.slug} cannot start: {error}.",
                    "Check the served folder; the project itself is safe.",
                ) from error
        return await self._checked(project, started)

    async def heads(self, session_id: SessionId) -> AsyncIterator[RevisionId | None]:
        """The head of the session's project, now and whenever it may have moved or was served.

        None if there is none yet or it cannot be read, which `open` reports.
        """
        notices = self.listener.subscribe(HEAD_CHANNEL)
        self._followers.add(notices)
        project = await self._project_of(session_id)
        yield project.head_revision_id if project else None
        async for payload in notices:
            if project is None or _project_id(payload) in (None, project.id):
                project = await self._project_of(session_id)
                yield project.head_revision_id if project else None

    async def _project_of(self, session_id: SessionId) -> Project | None:
        try:
            session = await self.stores.sessions.get(session_id)
            return await self.stores.projects.get(session.project_id)
        except StoreError as error:
            log.info("the head of session %s cannot be read: %s", session_id, error)
            return None

    async def serve(self, project: Project, session_id: SessionId) -> None:
        """Start the project's Metro, or find it running, and register it. Raises MobvibeError."""
        mirrored = self._mirrored(project)
        async with mirrored.lock:
            shown = mirrored.served.revision if mirrored.served else None
            started = await self._serve(project, session_id, shown)
        await self._checked(project, started)

    def forget(self, project: Project) -> None:
        """Note that the project's Metro was stopped, so that the next `open` starts it."""
        self._mirrored(project).served = None

    async def run(self) -> None:
        """Keep the projects of this home in step with their heads, until cancelled."""
        async with asyncio.TaskGroup() as group:
            async for payload in self.listener.subscribe(HEAD_CHANNEL):
                moved = _project_id(payload)
                for project in await self._with_new_heads(moved):
                    group.create_task(self._follow_head(project, is_new=moved is not None))
                    mirrored = self._mirrored(project)
                    if not mirrored.is_watched:
                        mirrored.is_watched = True
                        group.create_task(self._watch(project))

    async def _with_new_heads(self, moved: ProjectId | None) -> list[Project]:
        """The project whose head moved; after a gap in the notices (None) all projects that are served here."""
        try:
            if moved is not None:
                return [await self.stores.projects.get(moved)]
            projects = await self.stores.projects.list(self.owner)
        except NotFound:
            return []
        except StoreError as error:
            log.warning("heads cannot be read: %s", error)
            return []
        return [project for project in projects if self._mirrored(project).folder.is_published]

    async def _follow_head(self, project: Project, *, is_new: bool) -> None:
        """Publish the head and announce it. `is_new` says that it moved just now."""
        mirrored = self._mirrored(project)
        try:
            async with mirrored.lock:
                head = await mirrored.bring_to_head()
                started = await self._serve_head(project, head, is_new=is_new) if head else None
            if head is not None and started is not None:
                await self._checked(project, started)
                async with mirrored.lock:
                    await self._announce(project, head, started)
                for notices in self._followers:
                    notices.push(str(project.id))
            mirrored.trouble = ""
        except (MobvibeError, OSError) as error:
            self._report_trouble(project, error)

    async def _watch(self, project: Project) -> None:
        mirrored = self._mirrored(project)
        while True:
            try:
                await asyncio.to_thread(mirrored.folder.root.mkdir, parents=True, exist_ok=True)
                async for _ in mirrored.changes():
                    await self._follow_head(project, is_new=False)
            except OSError as error:
                self._report_trouble(project, error)
            await self._follow_head(project, is_new=False)
            await asyncio.sleep(RETRY_SECONDS)

    def _report_trouble(self, project: Project, error: MobvibeError | OSError) -> None:
        """Report each problem of the host's once, however often it occurs."""
        if isinstance(error, OSError):
            error = ServiceError(str(error), "Check the served folder; the project itself is safe.")
        mirrored = self._mirrored(project)
        if mirrored.trouble != error.message:
            mirrored.trouble = error.message
            log.warning("the served folder of %s: %s", project.slug, error)
            self._report_failure(project.slug, error)

    def _report_failure(self, slug: str, error: MobvibeError) -> None:
        """Report an error as the preview's status, unless `_serve` reported it."""
        if error is not self._reported:
            self.on_status(preview_status(slug, error=error))

    async def _serve_head(
        self, project: Project, revision: Revision, *, is_new: bool
    ) -> Served | None:
        """Serve the head if it is to be announced or its Metro finds no file."""
        session_id = await self.stores.sessions.latest_of_project(project.id)
        if session_id is None:
            return None
        started = None
        is_template = revision.source == "template"
        if self._mirrored(project).folder.is_replaced or (is_template and is_new):
            started = await self._serve(project, session_id, revision.id, is_app=not is_template)
        if is_template:
            return None
        if started is None and await self._is_due(session_id, revision):
            address = self._current(project, session_id, revision)
            if address is not None:
                return Served(session_id, revision.id, address)
            started = await self._serve(project, session_id, revision.id)
        return started

    async def _is_due(self, session_id: SessionId, revision: Revision) -> bool:
        """Whether this home is to announce the revision, which the agent made."""
        return (
            revision.source == "agent"
            and await self.stores.sessions.is_at_home(session_id, self.home_id)
            and not await self.stores.events.has_preview_ready(session_id, str(revision.id))
        )

    async def _announce(self, project: Project, revision: Revision, served: Served) -> None:
        """Append the revision's preview_ready once."""
        if await self._is_due(served.session_id, revision):
            ready = PreviewReady(served.address.url, project.sdk, str(revision.id))
            await self.stores.events.append(served.session_id, [ready], job_id=revision.job_id)

    async def _checked(self, project: Project, started: Served) -> PreviewAddress:
        """Check a web page, without the lock: it may take minutes, and new heads are published meanwhile."""
        if started.address.platform == "web":
            await _check_page(started.address)
            self._mirrored(project).served = started
        return started.address

    def _current(
        self, project: Project, session_id: SessionId, revision: Revision
    ) -> PreviewAddress | None:
        """The address of the session's preview if this program serves that revision already.

        What the person edits is served by the Metro that runs.
        """
        mirrored = self._mirrored(project)
        served, folder = mirrored.served, mirrored.folder
        if served is None or folder.is_replaced:
            return None
        # Another client of the home may have started Metro again, on another port.
        if folder.port != urlsplit(served.address.metro_url).port:
            return None
        known = self.monitor.known(project.slug)
        if known is None or known.facts.ended is not None:
            return None
        is_shown = served.revision == revision.id or revision.source == "person"
        return served.address if is_shown and served.session_id == session_id else None

    async def _serve(
        self,
        project: Project,
        session_id: SessionId,
        revision: RevisionId | None,
        *,
        is_app: bool = True,
    ) -> Served:
        """Start the project's Metro and register it. The session gets its address if there is an app to see.

        Only the session's own home writes the address to it: a phone may not reach another home.
        """
        session = await self.stores.sessions.get(session_id)
        try:
            address = await self.serve_folder(
                session_id, project.slug, project.sdk, session.platform
            )
        except MobvibeError as error:
            self._reported = error
            self.on_status(preview_status(project.slug, error=error))
            raise
        self.monitor.watch(address)
        name = container_id(address.mode, self.home_id, project.slug)
        await self.stores.previews.upsert(
            session_id, project.id, address.mode, name, address.metro_url, "running"
        )
        if is_app and await self.stores.sessions.is_at_home(session_id, self.home_id):
            await self.stores.sessions.set_preview(
                session_id, address.metro_url, address.metro_url, name
            )
        started = Served(session_id, revision, address)
        if is_app and address.platform != "web":
            self._mirrored(project).served = started
        return started

    def _mirrored(self, project: Project) -> ServedProject:
        if project.id not in self._projects:
            folder = ServedFolder(self.home.sdk(project.sdk).served(project.slug))
            self._projects[project.id] = ServedProject(project.id, folder, self.stores)
        return self._projects[project.id]


def _project_id(payload: str) -> ProjectId | None:
    """The project that a notice names. Any role can send one that names none, which counts as a gap."""
    try:
        return ProjectId(UUID(payload))
    except ValueError:
        return None


async def _check_page(address: PreviewAddress) -> None:
    """Make sure that the page and its script exist before anyone opens them. Raises ServiceError."""
    async with MetroClient(urlsplit(address.metro_url).port or 80) as client:
        bundle = await client.bundle(await client.web_bundle_url(), time_limit=WEB_SECONDS)
    if not bundle.is_green:
        raise ServiceError(
            f"The web version of {address.slug} does not compile.",
            f"See `mobvibe-tui logs preview-{address.slug}`, or describe the problem in a prompt.",
        )
