"""Reconciles the registry of previews with what runs, and measures, restarts and stops the previews of a home."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from mobvibe_app.preview.providers.local import service_name
from mobvibe_app.preview.status import preview_status
from mobvibe_app.status import OnStatus
from mobvibe_app.supervisor.restarts import RestartBudget
from mobvibe_worker.errors import MobvibeError, NotFound
from mobvibe_worker.events import Message
from mobvibe_worker.sanitize import clean_text

if TYPE_CHECKING:
    from mobvibe_app.preview.facts import ConsoleLine, PreviewKnown
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_app.preview.monitor import PreviewMonitor
    from mobvibe_app.preview.providers.local import PreviewService, RunningPreview
    from mobvibe_worker.jobs import SessionId, UserId
    from mobvibe_worker.store.previews import Preview
    from mobvibe_worker.store.projects import Project
    from mobvibe_worker.store.stores import Stores

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 10.0
LINES_SECONDS = 1.0
MOST_LINES = 60
"""Of one app's console that become events within a minute, because an app may print forever."""
_WINDOW_SECONDS = 60.0
_LINE_LIMIT = 1_000
_SETTLED_SECONDS = 60.0
_SHOWN_LEVELS = {"error": "error: ", "warn": "warning: "}


class PreviewsOfHome(Protocol):
    """What runs in this home; environment.previews.Previews implements it."""

    async def of_sdk(self, version: int) -> PreviewService:
        """The previews of an SDK's projects. Raises ServiceError."""
        ...

    async def running(self) -> list[RunningPreview]:
        """The previews that run in this home now, in order of start. Raises ServiceError."""
        ...


@dataclass(slots=True)
class Reconciler:
    """Runs in the host only. Without `idle_after` previews run for as long as the home is in use.

    `address` finds this machine's address for phones, which changes with its network.
    """

    home_id: str
    owner: UserId
    stores: Stores
    mirror: HeadMirror
    previews: PreviewsOfHome
    monitor: PreviewMonitor
    on_status: OnStatus
    idle_after: timedelta | None
    address: Callable[[], str]
    _restarts: defaultdict[str, RestartBudget] = field(
        default_factory=lambda: defaultdict(RestartBudget)
    )
    _touched: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, SessionId] = field(default_factory=dict)
    _passed_on: dict[str, float] = field(default_factory=dict)
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    async def run(self) -> None:
        """Reconcile again and again, until cancelled. Failures are logged, and tried again in the next round."""
        began = time.time()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store_console(began))
            while True:
                try:
                    await self.reconcile()
                except (MobvibeError, OSError) as error:
                    log.warning("the previews cannot be reconciled now: %s", error)
                await asyncio.sleep(RECONCILE_SECONDS)

    async def reconcile(self) -> None:
        """Update the registry to what runs, measure that, and stop idle previews. Raises MobvibeError."""
        running = await self.previews.running()
        unknown = {preview.slug: preview for preview in running}
        for row in await self.stores.previews.of_home(self.home_id):
            project = await self.stores.projects.get(row.project_id)
            preview = unknown.get(project.slug)
            if preview is None or preview.mode != row.provider:
                await self._gone(row, project)
            else:
                del unknown[project.slug]
                await self._alive(row, project, preview)
        for preview in unknown.values():
            await self._register(preview)
        await self._stop_idle()

    async def _alive(self, row: Preview, project: Project, preview: RunningPreview) -> None:
        slug, registry = project.slug, self.stores.previews
        self._sessions[slug] = row.session_id
        url = f"http://{self.address()}:{preview.port}"
        if self.monitor.known(slug) is None or row.metro_url != url:
            await self.mirror.serve(project, row.session_id)
        previews = await self.previews.of_sdk(project.sdk)
        usage = await previews.usage(slug)
        if usage is not None:
            self.monitor.measured(slug, usage)
            await registry.measured(row.container_id, usage.to_data())
        known = self.monitor.known(slug)
        now = time.time()
        sign = known.facts.last_sign(now) if known else 0.0
        is_fresh = now - sign < 3 * RECONCILE_SECONDS
        if is_fresh and sign > max(self._touched.get(slug, 0.0), row.last_activity_at.timestamp()):
            self._touched[slug] = sign
            await registry.touch(row.container_id)

    async def _gone(self, row: Preview, project: Project) -> None:
        """Handle a registered preview that does not run: it was stopped here, or it ended by itself."""
        slug = project.slug
        known = self.monitor.known(slug)
        if known is not None and known.facts.ended is None:
            return  # The monitor learns why in a moment.
        cause = known.facts.ended if known else ""
        # A container has a keeper that restarts it; when the keeper gives up, so do we.
        if cause and row.provider == "process" and self._restarts[slug].spend():
            log.warning("the preview of %s is restarted: %s", slug, cause)
            await self.mirror.serve(project, row.session_id)
            return
        self.mirror.forget(project)
        await self.stores.previews.stopped(row.container_id, "error" if cause else "stopped")
        await self.stores.sessions.unset_preview(row.session_id, row.container_id)
        if cause:
            self.on_status(preview_status(slug, ended=cause))

    async def _register(self, preview: RunningPreview) -> None:
        """Serve what runs unregistered, which registers it; stop it if it has no session here."""
        try:
            project = await self.stores.projects.by_slug(self.owner, preview.slug)
            session_id = await self.stores.sessions.latest_of_project(project.id)
            if session_id is not None:
                await self.mirror.serve(project, session_id)
                return
        except NotFound:
            log.info("%s serves no project of this database", preview.name)
        if time.time() - preview.started_at > _SETTLED_SECONDS:
            log.warning("%s is stopped: it has no session here", preview.name)
            await (await self.previews.of_sdk(preview.sdk)).stop(preview.slug)

    async def _stop_idle(self) -> None:
        if self.idle_after is None:
            return
        for row in await self.stores.previews.idle_of_home(self.home_id, self.idle_after):
            project = await self.stores.projects.get(row.project_id)
            await (await self.previews.of_sdk(project.sdk)).stop(project.slug)
            self.mirror.forget(project)
            await self.stores.previews.stopped(row.container_id)
            await self.stores.sessions.unset_preview(row.session_id, row.container_id)
            minutes = round(self.idle_after.total_seconds() / 60)
            idle = f"no phone for {minutes} minutes"
            self.on_status(preview_status(project.slug, ended="", stopped=idle))

    async def _store_console(self, since: float) -> None:
        """Append what the running apps print to their sessions; lines before `since` are stored already."""
        while True:
            await asyncio.sleep(LINES_SECONDS)
            for slug, session_id in tuple(self._sessions.items()):
                known = self.monitor.known(slug)
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
                    log.warning("the console of %s is not stored: %s", slug, error)

    def _messages(self, slug: str, lines: list[ConsoleLine]) -> list[Message]:
        """The first lines of each minute, and a message if there were more."""
        now = time.monotonic()
        began, kept = self._windows.get(slug, (now, 0))
        if now - began > _WINDOW_SECONDS:
            began, kept = now, 0
        messages = [_message(line) for line in lines[: max(0, MOST_LINES - kept)]]
        if kept < MOST_LINES < kept + len(lines):
            more = f"The app prints more than is stored; `mobvibe-tui logs {service_name(slug)}` shows it."
            messages.append(Message(more, "phone"))
        self._windows[slug] = began, kept + len(lines)
        return messages


def _lines_after(known: PreviewKnown, moment: float) -> list[ConsoleLine]:
    return [line for line in known.facts.lines if line.at > moment and line.text]


def _message(line: ConsoleLine) -> Message:
    text = clean_text(f"{_SHOWN_LEVELS.get(line.level, '')}{line.text}", _LINE_LIMIT)
    return Message(text, "phone")
