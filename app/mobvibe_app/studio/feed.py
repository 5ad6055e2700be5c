"""One client's view of a studio: what changes for it, as one stream, and the commands that it gives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any, assert_never

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.backend import Backend, View
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
from mobvibe_app.studio.conversations import order_of
from mobvibe_app.studio.preview_feed import PreviewFeed
from mobvibe_app.studio.service_rows import ServiceRows
from mobvibe_app.studio.studio import QUIT, RETRY_SECONDS, Studio, cancel_and_wait
from mobvibe_worker.errors import DatabaseUnreachable, InputError, MobvibeError, StoreError
from mobvibe_worker.jobs import SessionId

log = logging.getLogger(__name__)


class Feed:
    """Implements ui.studio_port.StudioPort. Several feeds may share one studio, each with its own selection.

    `person` is the email of the person whose view is shown; None is the home's owner, who may also write.
    """

    def __init__(self, studio: Studio, person: str | None = None) -> None:
        self._studio = studio
        self._person = person
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self._selected: SessionId | None = None
        self._last_seq = 0
        self._overview: OverviewChanged | None = None
        self._view: View | None = None
        self._has_trouble = False
        self._turning = asyncio.Lock()
        """Held while what is followed is replaced."""
        self._showing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._preview: PreviewFeed | None = None
        self._rows = ServiceRows(lambda row: self._emit(ServiceChanged(row)))

    async def changes(self) -> AsyncIterator[Change]:
        self._studio.attach(self._take)
        if self._person is None:
            self._studio.become_host()
        self._showing = self._start(self._follow_backends(), "feed-backends")
        while (change := await self._changes.get()) is not None:
            yield change

    async def close(self) -> None:
        """Detach from the studio, which closes with its last feed."""
        await cancel_and_wait(self._showing)
        await self._stop_showing()
        await self._studio.detach(self._take)
        self._changes.put_nowait(None)

    async def do(self, command: Command) -> None:
        if not isinstance(command, SelectSession | WakePreview | SeeAs):
            self._require_own_view()
        match command:
            case SubmitPrompt() | ReplayDemo():
                await self._submit(command)
            case SelectSession(session_id=session_id):
                await self._select(session_id)
            case CancelJob():
                await self._cancel()
            case WakePreview():
                self._wake_preview()
            case RestartService(service="preview"):
                await self._restart_preview()
            case RestartService(service=service):
                await self._studio.maintenance.restart(service)
            case RebuildService(service=service):
                await self._studio.maintenance.rebuild(service)
                if service == "preview":
                    await self._reopen_preview()
            case SeeAs(email=email):
                await self._see_as(email)
            case _:
                assert_never(command)

    async def _submit(self, command: SubmitPrompt | ReplayDemo) -> None:
        order = order_of(command, self._studio.settings, self._studio.demos)
        submitted = await self._studio.backend.own.conversations.submit(order)
        if submitted.session_id != self._selected:
            await self._select(submitted.session_id)
        self._wake_preview()

    def _wake_preview(self) -> None:
        if self._preview is not None:
            self._preview.wake()

    async def _select(self, session_id: SessionId) -> None:
        """Show another session: its events from the first, and its preview."""
        async with self._turning:
            await cancel_and_wait(self._following)
            self._show_session(session_id)

    async def _cancel(self) -> None:
        queue = self._studio.backend.stores.queue
        job_id = await queue.live_job(self._selected) if self._selected else None
        if job_id is None or await queue.cancel(job_id) not in ("cancelled", "processing"):
            self._emit(Noticed("There was no job left to cancel."))

    async def _restart_preview(self) -> None:
        """Restart the selected session's preview, also if it does not run."""
        if self._slug is not None:
            await self._studio.maintenance.start_again(self._slug)
        await self._reopen_preview()

    async def _reopen_preview(self) -> None:
        if self._preview is not None:
            await self._preview.open(again=True)

    async def _see_as(self, email: str | None) -> None:
        view = await _view_of(self._studio.backend, email)
        async with self._turning:
            await self._stop_showing()
            self._view, self._person = view, view.email
            self._selected, self._overview = None, None
            self._emit(ViewChanged(view.email))
            self._start_showing(view)
        if view.email is None:
            self._studio.become_host()

    def _require_own_view(self) -> None:
        if self._person is not None:
            raise InputError(
                f"You are viewing as {self._person}; this view is read-only.",
                "Go back to your own view first, with My own view in the palette.",
            )

    async def _follow_backends(self) -> None:
        """Show what the person selected; after a loss of the database, continue after the last event."""
        async for backend in self._studio.backends():
            async with self._turning:
                await self._stop_showing()
            while backend is not None and not await self._try_to_show(backend):
                await asyncio.sleep(RETRY_SECONDS)
                if not self._studio.is_current(backend):
                    break

    async def _try_to_show(self, backend: Backend) -> bool:
        """Begin to show the person's view if nothing is shown yet. False if another attempt may help."""
        async with self._turning:
            if self._watching is not None:
                return True
            is_first = self._view is None
            try:
                self._view = await _view_of(backend, self._person)
            except MobvibeError as error:
                self._trouble(error.message, error.remedy)
                return not error.is_worth_retrying
            if is_first and self._view.email is not None:
                self._person = self._view.email
                self._emit(ViewChanged(self._view.email))
            self._start_showing(self._view)
            return True

    def _start_showing(self, view: View) -> None:
        self._watching = self._start(self._watch(view), "feed-overview")
        if self._selected is not None:
            self._start_following(view, self._selected)

    async def _stop_showing(self) -> None:
        await cancel_and_wait(self._watching)
        await cancel_and_wait(self._following)
        self._watching = self._following = None

    async def _watch(self, view: View) -> None:
        while True:
            try:
                await view.overview.watch(lambda overview: self._show_overview(view, overview))
            except* DatabaseUnreachable:
                self._trouble("Postgres does not answer.", "It is retried automatically.")
            except* StoreError as group:
                self._trouble(str(group.exceptions[0]))
            await asyncio.sleep(RETRY_SECONDS)

    def _show_overview(self, view: View, overview: OverviewChanged) -> None:
        self._overview = overview
        self._emit(overview)
        self._show_services()
        self._trouble(None)
        if self._selected is None and overview.sessions:
            self._show_session(overview.sessions[0].id)

    def _show_session(self, session_id: SessionId) -> None:
        self._selected, self._last_seq = session_id, 0
        self._emit(SessionSelected(session_id))
        if self._view is not None:
            self._start_following(self._view, session_id)

    def _start_following(self, view: View, session_id: SessionId) -> None:
        if self._following is not None:
            self._following.cancel()
        self._following = self._start(self._follow(view, session_id), "feed-follow")

    async def _follow(self, view: View, session_id: SessionId) -> None:
        """Show the session's events after the last one shown, and its preview if the view is the owner's."""
        self._preview = None
        async with asyncio.TaskGroup() as group:
            if view.email is None:
                mirror = self._studio.backend.mirror
                self._preview = PreviewFeed(session_id, mirror, self._emit, self._take_status)
                group.create_task(self._preview.run())
            async for events in view.follow(session_id, self._last_seq):
                self._last_seq = events[-1].seq
                self._emit(EventsArrived(tuple(events)))

    def _take(self, change: Change) -> None:
        if isinstance(change, TroubleChanged):
            self._trouble(change.message, change.remedy)
        elif isinstance(change, ServiceChanged):
            self._take_status(change.status)
        else:
            self._emit(change)

    def _take_status(self, status: ServiceStatus) -> None:
        self._rows.take(status, self._slug)
        self._show_services()

    def _show_services(self) -> None:
        running = self._overview.stats.processing if self._overview else 0
        self._rows.show(running if self._studio.is_host else None)

    @property
    def _slug(self) -> str | None:
        """The selected session's project, once the overview names it."""
        sessions = self._overview.sessions if self._overview else ()
        return next((each.project for each in sessions if each.id == self._selected), None)

    def _trouble(self, message: str | None, remedy: str = "") -> None:
        if message is not None or self._has_trouble:
            self._has_trouble = message is not None
            self._emit(TroubleChanged(message, remedy))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work in the background. If it fails, the screen shows that as trouble."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._report_failure)
        return task

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, MobvibeError):
            self._trouble(error.message, error.remedy)
        elif error is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
            self._trouble(f"Something broke ({type(error).__name__}: {error}).", QUIT)

    def _emit(self, change: Change) -> None:
        self._changes.put_nowait(change)


async def _view_of(backend: Backend, email: str | None) -> View:
    """The view of the person with this email, or of the home's owner. Raises NotFound, StoreError."""
    return backend.own if email is None else await backend.see_as(email)
