"""An open dashboard recovers after Postgres or the supervisor was killed, and continues where it stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mobvibe_app.settings import AppSettings
from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    OverviewChanged,
    ServiceChanged,
    TroubleChanged,
)
from mobvibe_app.studio.commands import SelectSession
from mobvibe_app.studio.feed import Feed
from mobvibe_app.studio.studio import Studio
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ports import pick_port
from mobvibe_app.wiring import build_studio
from mobvibe_worker.events import Message
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, Attempt, Prompt, SessionId, WorkerId
from mobvibe_worker.store.claims import Claims
from support.polling import until

pytestmark = [pytest.mark.expo, pytest.mark.timeout(300)]

RECOVERY_SECONDS = 40.0


class Screen:
    """Records what an open dashboard shows."""

    def __init__(self, home: Home) -> None:
        self.studio: Studio = build_studio(AppSettings(home=home.root))
        self.feed = Feed(self.studio)
        self.reported: list[Change] = []
        self.rows: dict[str, ServiceStatus] = {}

    async def read(self) -> None:
        """Record every change until the feed is closed."""
        async for change in self.feed.changes():
            self.reported.append(change)
            if isinstance(change, ServiceChanged):
                self.rows[change.status.name] = change.status

    def overviews(self) -> int:
        """The number of overviews since the last clear."""
        return sum(isinstance(change, OverviewChanged) for change in self.reported)

    def seqs(self, session: SessionId) -> list[int]:
        """The seqs of a session's events in order of arrival, repeats included."""
        batches = [change.events for change in self.reported if isinstance(change, EventsArrived)]
        return [event.seq for events in batches for event in events if event.session_id == session]

    def troubles(self) -> list[str | None]:
        """The banner's messages in order; None each time it disappeared."""
        return [change.message for change in self.reported if isinstance(change, TroubleChanged)]

    def row(self, name: str) -> str:
        return self.rows[name].state

    def detail(self, name: str) -> str:
        """The details of a service; empty if none were reported yet."""
        return self.rows[name].detail if name in self.rows else ""

    async def append(self, session: SessionId, text: str) -> None:
        await self.studio.backend.stores.events.append(session, [Message(text)])


@asynccontextmanager
async def dashboard(home: Home) -> AsyncIterator[Screen]:
    """An open dashboard, without drawing its screen."""
    screen = Screen(home)
    reading = asyncio.create_task(screen.read())
    try:
        await until(lambda: screen.overviews() > 0, 60, "the first overview")
        yield screen
    finally:
        await screen.feed.close()
        await reading


async def session_with_an_event(screen: Screen) -> SessionId:
    """Create a session with one event, select it, and wait until the event is shown."""
    stores = screen.studio.backend.stores
    project = await stores.projects.create(LOCAL_OWNER, "Kept", 54)
    session = await stores.sessions.create(project.id, "kept", platform="mobile")
    await screen.append(session, "before")
    await screen.feed.do(SelectSession(session))
    await until(lambda: screen.seqs(session) == [1], 40, "the first event")
    screen.reported.clear()
    return session


@pytest.mark.parametrize("victim", ["postgres", "postgres, another port", "supervisor"])
async def test_the_dashboard_recovers_after_a_kill(home: Home, victim: str) -> None:
    async with dashboard(home) as screen:
        session = await session_with_an_event(screen)
        if victim == "postgres, another port":
            Choices(home.choices).remember_port("postgres", pick_port(None))
        os.kill(await pid_of(home, victim.partition(",")[0]), signal.SIGKILL)
        killed = time.monotonic()
        await until(lambda: screen.overviews() > 0, RECOVERY_SECONDS, "a new overview")
        print(f"{victim}: recovered after {time.monotonic() - killed:.1f} s")
        assert screen.row("postgres") == "healthy"
        assert any("ended by itself" in (message or "") for message in screen.troubles())
        assert screen.troubles()[-1] is None
        await screen.append(session, "after")
        await until(lambda: bool(screen.seqs(session)), RECOVERY_SECONDS, "the next event")
        assert screen.seqs(session) == [2]
        await until(lambda: screen.row("worker") == "healthy", RECOVERY_SECONDS, "the worker")


async def test_an_environment_stopped_on_purpose_stays_stopped(home: Home) -> None:
    async with dashboard(home) as screen:
        other = await Supervisor.attach(home)
        assert other is not None
        async with other:
            await other.shutdown()
        await until(lambda: bool(screen.troubles()), RECOVERY_SECONDS, "the banner")
        assert "mobvibe-tui down" in (screen.troubles()[-1] or "")
        assert screen.row("postgres") == "stopped"
        for _ in range(20):
            assert await Supervisor.attach(home) is None
            await asyncio.sleep(0.1)


async def test_the_rows_show_the_selected_project_and_the_running_jobs(home: Home) -> None:
    async with dashboard(home) as screen:
        await until(lambda: screen.studio.is_host, 40, "being the host")
        session = await session_with_an_event(screen)
        await screen.feed.do(SelectSession(session))
        await until(lambda: screen.detail("preview") == "starts with the first build", 40)
        stores = screen.studio.backend.stores
        await stores.queue.enqueue(session, Prompt("Needs a model: left to another worker."))
        elsewhere = WorkerId("elsewhere")
        claims = Claims(stores.queue._source)
        (job,) = await claims.claim(elsewhere, 1, timedelta(seconds=60))
        await until(lambda: screen.detail("worker") == "1 running", 40, "the running job")
        await stores.queue.cancel(job.id)
        await claims.finish_cancelled(Attempt(job.id, job.attempt, elsewhere), [])
        await until(lambda: screen.detail("worker") == "waits for jobs", 40, "the job's end")


async def pid_of(home: Home, victim: str) -> int:
    """The process id of Postgres or of the supervisor."""
    if victim == "postgres":
        return int((home.postgres / "data" / "postmaster.pid").read_text().splitlines()[0])
    supervisor = await Supervisor.attach(home)
    assert supervisor is not None
    async with supervisor:
        return supervisor.pid
