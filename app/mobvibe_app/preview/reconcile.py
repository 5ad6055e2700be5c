"""The host's care for the previews of its home: registered as they are, measured, stopped when idle, restarted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from mobvibe_app.preview.facts import PreviewKnown, Said
from mobvibe_app.preview.local import (
    PreviewService,
    RunningPreview,
    running_previews,
    service_name,
)
from mobvibe_app.preview.monitor import PreviewWatches
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.restarts import RestartBudget
from mobvibe_worker.errors import MobvibeError, NotFound
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import LOCAL_OWNER, SessionId
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.store.previews import Preview
from mobvibe_worker.store.projects import Project
from mobvibe_worker.store.stores import Stores

log = logging.getLogger(__name__)

TEND_SECONDS = 10.0
LINES_SECONDS = 1.0
MOST_LINES = 60
"""Of one app's console that become events within a minute: an app may print for ever."""
_WINDOW_SECONDS = 60.0
_LINE_LIMIT = 1_000
_SETTLED_SECONDS = 60.0
_SHOWN_LEVELS = {"error": "error: ", "warn": "warning: "}

Revive = Callable[[Project, SessionId], Awaitable[object]]
"""Serve a project again, and register where."""


class PreviewsOfHome(Protocol):
    """What runs in this home: Environment."""

    async def previews(self, version: int) -> PreviewService:
        """Who serves the projects of an SDK. Raises ServiceError."""
        ...

    async def supervisor(self) -> Supervisor:
        """The home's supervisor. Raises ServiceError."""
        ...


@dataclass(slots=True)
class PreviewUpkeep:
    """Runs in the host alone. `idle_after` is None where previews run for as long as the home is in use.

    `address` finds this machine's address for phones, which changes with its network.
    """

    home_id: str
    stores: Stores
    running: PreviewsOfHome
    watches: PreviewWatches
    tell: Callable[[ServiceStatus], None]
    idle_after: timedelta | None
    address: Callable[[], str]
    _restarts: defaultdict[str, RestartBudget] = field(
        default_factory=lambda: defaultdict(RestartBudget)
    )
    _touched: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, SessionId] = field(default_factory=dict)
    _passed_on: dict[str, float] = field(default_factory=dict)
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    async def run(self, revive: Revive) -> None:
        """Tend to the previews until cancelled; what fails is tried again."""
        began = time.time()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass_on_lines(began))
            while True:
                try:
                    await self.tend(revive)
                except (MobvibeError, OSError) as error:
                    log.warning("the previews cannot be tended to now: %s", error)
                await asyncio.sleep(TEND_SECONDS)

    async def tend(self, revive: Revive) -> None:
        """Bring registry and reality together once, measure what runs, stop what is idle. Raises MobvibeError."""
        running = await running_previews(await self.running.supervisor())
        unknown = {preview.slug: preview for preview in running}
        for row in await self.stores.previews.of_home(self.home_id):
            project = await self.stores.projects.get(row.project_id)
            preview = unknown.get(project.slug)
            if preview is None or preview.provider != row.provider:
                await self._gone(row, project, revive)
            else:
                del unknown[project.slug]
                await self._alive(row, project, preview, revive)
        for preview in unknown.values():
            await self._register(preview, revive)
        await self._stop_idle()

    async def _alive(
        self, row: Preview, project: Project, preview: RunningPreview, revive: Revive
    ) -> None:
        slug, registry = project.slug, self.stores.previews
        self._sessions[slug] = row.session_id
        url = f"http://{self.address()}:{preview.port}"
        if self.watches.known(slug) is None or row.metro_url != url:
            await revive(project, row.session_id)
        previews = await self.running.previews(project.sdk)
        usage = await previews.usage(slug)
        if usage is not None:
            self.watches.measured(slug, usage)
            await registry.measured(row.container_id, usage.to_data())
        known = self.watches.known(slug)
        now = time.time()
        sign = known.facts.last_sign(now) if known else 0.0
        is_fresh = now - sign < 3 * TEND_SECONDS
        if is_fresh and sign > max(self._touched.get(slug, 0.0), row.last_activity_at.timestamp()):
            self._touched[slug] = sign
            await registry.touch(row.container_id)

    async def _gone(self, row: Preview, project: Project, revive: Revive) -> None:
        """The registry says that it runs, and it does not: here it was stopped, or it ended by itself."""
        slug = project.slug
        known = self.watches.known(slug)
        if known is not None and known.facts.ended is None:
            return  # Who watches it knows why in a moment.
        cause = known.facts.ended if known else ""
        # A container has a keeper that starts it again; when that one gives up, so do we.
        if cause and row.provider == "process" and self._restarts[slug].spend():
            log.warning("the preview of %s is started again: %s", slug, cause)
            await revive(project, row.session_id)
            return
        await self.stores.previews.stopped(row.container_id, "error" if cause else "stopped")
        await self.stores.sessions.unset_preview(row.session_id, row.container_id)
        if cause:
            remedy = f"See `mobvibe-tui logs {service_name(slug)}`; p starts it again."
            self.tell(ServiceStatus("preview", "failed", cause, remedy))

    async def _register(self, preview: RunningPreview, revive: Revive) -> None:
        """It runs, and the registry does not know: serving it again writes that down."""
        try:
            project = await self.stores.projects.by_slug(LOCAL_OWNER, preview.slug)
            session_id = await self.stores.sessions.latest_of_project(project.id)
            if session_id is not None:
                await revive(project, session_id)
                return
        except NotFound:
            log.info("%s serves no project of this database", preview.name)
        if time.time() - preview.started_at > _SETTLED_SECONDS:
            log.warning("%s is stopped: it has no session here", preview.name)
            await (await self.running.previews(preview.sdk)).stop(preview.slug)

    async def _stop_idle(self) -> None:
        if self.idle_after is None:
            return
        for row in await self.stores.previews.idle_of_home(self.home_id, self.idle_after):
            project = await self.stores.projects.get(row.project_id)
            await (await self.running.previews(project.sdk)).stop(project.slug)
            await self.stores.previews.stopped(row.container_id)
            await self.stores.sessions.unset_preview(row.session_id, row.container_id)
            minutes = round(self.idle_after.total_seconds() / 60)
            words = f"{project.slug}: no phone for {minutes} minutes; p starts it again"
            self.tell(ServiceStatus("preview", "stopped", words))

    async def _pass_on_lines(self, since: float) -> None:
        """The running app's console becomes events of its session, the ones before `since` are stored already."""
        while True:
            await asyncio.sleep(LINES_SECONDS)
            for slug, session_id in tuple(self._sessions.items()):
                known = self.watches.known(slug)
                if known is None:
                    continue
                new = _lines_after(known, self._passed_on.get(slug, since))
                if not new:
                    continue
                self._passed_on[slug] = new[-1].at
                messages = self._messages(slug, new)
                try:
                    if messages:
                        await self.stores.events.append(session_id, messages)
                except MobvibeError as error:
                    log.warning("what the app of %s said is not stored: %s", slug, error)

    def _messages(self, slug: str, lines: list[Said]) -> list[Message]:
        """What is kept of these lines: of each minute the first ones, and that there were more."""
        now = time.monotonic()
        began, kept = self._windows.get(slug, (now, 0))
        if now - began > _WINDOW_SECONDS:
            began, kept = now, 0
        told = [_message(line) for line in lines[: max(0, MOST_LINES - kept)]]
        if kept < MOST_LINES < kept + len(lines):
            more = (
                f"The app says more than is kept; `mobvibe-tui logs {service_name(slug)}` has it."
            )
            told.append(Message(more, "phone"))
        self._windows[slug] = began, kept + len(lines)
        return told


def _lines_after(known: PreviewKnown, moment: float) -> list[Said]:
    return [line for line in known.facts.lines if line.at > moment and line.text]


def _message(line: Said) -> Message:
    text = clean_text(f"{_SHOWN_LEVELS.get(line.level, '')}{line.text}", _LINE_LIMIT)
    return Message(text, "phone")
