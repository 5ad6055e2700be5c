"""The dashboard's side of a studio: everything that changes, as one stream, and the person's commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import assert_never

from mobvibe_app.environment.environment import StoppedOnPurpose
from mobvibe_app.status import ServiceName, ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    Noticed,
    OverviewChanged,
    ServiceChanged,
    SessionSelected,
    TroubleChanged,
    ViewChanged,
)
from mobvibe_app.studio.commands import (
    CancelJob,
    Command,
    RebuildService,
    ReplayDemo,
    RestartService,
    SeeAs,
    SelectSession,
    SubmitPrompt,
    WakePreview,
)
from mobvibe_app.studio.conversations import Order
from mobvibe_app.studio.overview import Overview
from mobvibe_app.studio.preview_feed import ScreenPreview
from mobvibe_app.studio.studio import Connected, Studio, View, no_model
from mobvibe_worker.errors import (
    DatabaseUnreachable,
    DiskFull,
    InputError,
    MobvibeError,
    StoreError,
)
from mobvibe_worker.events import Event
from mobvibe_worker.jobs import SessionId, checked_prompt

RETRY_SECONDS = 2.0
PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0)
"""Before the attempts to start again what ended by itself; the last one before each further attempt too."""
STEADY_SECONDS = 30.0
"""What ran that long was well: the pauses begin anew."""


class Feed:
    """Implements ui.studio_port.StudioPort."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self._selected: SessionId | None = None
        self._last_seq = 0
        self._overview: OverviewChanged | None = None
        self._view: View | None = None
        self._viewed_as = studio.settings.view_as
        """Whose view was asked for, also before it is there: until it is left, nothing is written."""
        self._has_trouble = False
        self._following: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._preview = ScreenPreview(studio, self._tell, lambda: self._slug)

    async def changes(self) -> AsyncIterator[Change]:
        """Start everything and yield what changes, until closed."""
        self._starting = asyncio.create_task(self._start(), name="feed-start")
        while (change := await self._changes.get()) is not None:
            yield change

    async def do(self, command: Command) -> None:
        """Carry out a command; what comes of it arrives as changes. Raises MobvibeError if it is refused."""
        if not isinstance(command, SelectSession | WakePreview | SeeAs):
            self._require_own_view()
        match command:
            case SubmitPrompt():
                await self._submit(await self._order(command))
            case ReplayDemo(name=name):
                await self._submit(self._studio.demo_order(name))
            case SelectSession(session_id=session_id):
                await self._select(session_id)
            case CancelJob():
                await self._cancel()
            case WakePreview():
                self._preview.wake()
            case RestartService(service=service):
                await self._restart(service)
            case RebuildService(service=service):
                await self._studio.care.rebuild(service)
                await self._reopened(service)
            case SeeAs(email=email):
                await self._see_as(email)
            case _:
                assert_never(command)

    async def _order(self, command: SubmitPrompt) -> Order:
        checked_prompt(command.text)
        settings = self._studio.settings
        if not settings.has_model:
            raise no_model(self._studio.demos())
        project = command.project
        if command.session_id is not None:
            project = (await self._studio.connected.session.project_of(command.session_id)).slug
        return Order(
            command.text,
            project=project,
            sdk=settings.sdk,
            platform=command.platform,
            budget_usd=settings.budget_usd,
        )

    async def _select(self, session_id: SessionId) -> None:
        """Show another session: its events from the first, and its preview."""
        await _ended(self._following)
        self._show_session(session_id)

    async def _cancel(self) -> None:
        session = self._studio.connected.session
        job_id = await session.stores.queue.live_job(self._selected) if self._selected else None
        if job_id is None or await session.cancel(job_id) not in ("cancelled", "processing"):
            self._tell(Noticed("There was no job left to cancel."))

    async def _restart(self, service: ServiceName) -> None:
        if service != "preview":
            await self._studio.care.restart(service)
        elif self._slug is not None:
            await self._studio.care.start_again(self._slug)
        await self._reopened(service)

    async def _reopened(self, service: ServiceName) -> None:
        if service == "preview" and self._selected is not None:
            await self._preview.open(self._selected)

    async def _see_as(self, email: str | None) -> None:
        """Read through that person's row-level security; None: one's own view again. Raises NotFound, StoreError."""
        view = None if email is None else await self._studio.connected.see_as(email)
        await _ended(self._watching)
        await _ended(self._following)
        self._view, self._selected, self._overview = view, None, None
        self._viewed_as = view.email if view else None
        self._tell(ViewChanged(self._viewed_as))
        self._watching = asyncio.create_task(self._watch(), name="feed-overview")
        if view is None:
            self._studio.become_host(self._tell_service)

    async def close(self) -> None:
        """Stop following, then the studio."""
        await _ended(self._starting)
        await _ended(self._keeping)
        await _ended(self._watching)
        await _ended(self._following)
        await self._studio.close()
        self._changes.put_nowait(None)

    def _tell(self, change: Change) -> None:
        self._changes.put_nowait(change)

    def _tell_service(self, change: Change) -> None:
        """The environment's own words, but the rows of worker and preview tell what the screen is about."""
        if isinstance(change, ServiceChanged) and change.status.state != "failed":
            status = change.status
            if status.name == "worker" and status.state == "healthy" and self._studio.is_host:
                running = self._overview.stats.processing if self._overview else 0
                detail = f"{running} running" if running else "waits for jobs"
                change = ServiceChanged(replace(status, detail=detail))
            elif status.name == "preview" and self._slug not in (None, status.detail):
                return
        self._tell(change)

    @property
    def _slug(self) -> str | None:
        """The selected session's project, once the overview names it."""
        sessions = self._overview.sessions if self._overview else ()
        return next((each.project for each in sessions if each.id == self._selected), None)

    def _trouble(self, message: str | None, remedy: str = "") -> None:
        if message is not None or self._has_trouble:
            self._has_trouble = message is not None
            self._tell(TroubleChanged(message, remedy))

    async def _start(self) -> None:
        if await self._open() is None:
            return
        self._keeping = asyncio.create_task(self._keep(), name="feed-keep")
        email = self._studio.settings.view_as
        if email is None:
            self._watching = asyncio.create_task(self._watch(), name="feed-overview")
            return
        try:
            await self._see_as(email)
        except MobvibeError as error:
            self._trouble(error.message, error.remedy)

    async def _keep(self) -> None:
        """Start again what ends by itself, for as long as the dashboard is open; never what somebody ended."""
        loop, attempts = asyncio.get_running_loop(), 0
        while True:
            since = loop.time()
            why = await self._studio.lost()
            if loop.time() - since > STEADY_SECONDS:
                attempts = 0
            await _ended(self._watching)
            await _ended(self._following)
            if isinstance(why, StoppedOnPurpose):
                for name in ("postgres", "worker", "preview"):
                    self._tell(ServiceChanged(ServiceStatus(name, "stopped")))
                self._trouble(why.message, why.remedy)
                return
            self._tell(ServiceChanged(ServiceStatus("postgres", "starting", why.message)))
            while True:
                first = f"{why.remedy} " if isinstance(why, DiskFull) else ""
                self._trouble(why.message, f"{first}Starting it again by itself.")
                await asyncio.sleep(PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS) - 1)])
                attempts += 1
                try:
                    await self._go_on()
                    break
                except MobvibeError as error:
                    why = error

    async def _go_on(self) -> None:
        """Reopen the studio and show what was shown, from the last event on. Raises MobvibeError."""
        connected = await self._studio.reopen(self._tell_service)
        if self._view is not None:
            self._view = await connected.see_as(self._view.email)
        await _ended(self._watching)
        await _ended(self._following)
        if self._selected is not None:
            again = self._follow(self._selected, self._last_seq)
            self._following = asyncio.create_task(again, name="feed-follow")
        self._watching = asyncio.create_task(self._watch(), name="feed-overview")

    async def _watch(self) -> None:
        """The overview of the person whose view this is, for ever."""
        while True:
            try:
                await self._seen_overview.watch(self._show_overview)
            except* DatabaseUnreachable:
                self._trouble("Postgres does not answer.", "Trying again by itself.")
            except* StoreError as group:
                error = group.exceptions[0]
                self._trouble(str(error))
            await asyncio.sleep(RETRY_SECONDS)

    @property
    def _seen_overview(self) -> Overview:
        return self._view.overview if self._view else self._studio.connected.overview

    def _require_own_view(self) -> None:
        if self._viewed_as is not None:
            raise InputError(
                f"This is what {self._viewed_as} sees: here nothing is changed.",
                "Go back to your own view first (ctrl+p, My own view).",
            )

    async def _open(self) -> Connected | None:
        while True:
            try:
                connected = await self._studio.open(
                    self._tell_service, as_host=self._studio.settings.view_as is None
                )
            except MobvibeError as error:
                self._trouble(error.message, error.remedy)
                if not error.is_worth_retrying:
                    return None
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._trouble(None)
                return connected

    def _show_overview(self, overview: OverviewChanged) -> None:
        self._overview = overview
        self._tell(overview)
        if self._studio.is_host and self._view is None:
            self._tell_service(ServiceChanged(ServiceStatus("worker", "healthy")))
        self._trouble(None)
        if self._selected is None and overview.sessions:
            self._show_session(overview.sessions[0].id)

    def _show_session(self, session_id: SessionId) -> None:
        self._selected, self._last_seq = session_id, 0
        self._tell(SessionSelected(session_id))
        self._following = asyncio.create_task(self._follow(session_id), name="feed-follow")

    async def _submit(self, order: Order) -> None:
        submitted = await self._studio.connected.session.submit(order)
        if submitted.session_id != self._selected:
            await self._select(submitted.session_id)
        self._preview.wake()

    async def _follow(self, session_id: SessionId, after: int = 0) -> None:
        if self._view is not None:
            async for events in self._view.session.follow(session_id, after):
                self._show_events(events)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._preview.keep(session_id))
            async for events in self._studio.connected.session.follow(session_id, after):
                self._show_events(events)
                # Another home's preview_ready tells of its own address: ours is opened on completion.
                if any(event.type in ("preview_ready", "completion") for event in events):
                    self._preview.due()

    def _show_events(self, events: Sequence[Event]) -> None:
        self._last_seq = events[-1].seq
        self._tell(EventsArrived(tuple(events)))


async def _ended(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
