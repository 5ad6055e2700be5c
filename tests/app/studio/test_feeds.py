"""Several feeds share one studio, each with its own selection and person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from asyncpg import Pool
from filelock import FileLock

from mobvibe_app.environment.environment import Environment
from mobvibe_app.environment.maintenance import Maintenance
from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.monitor import PreviewMonitor
from mobvibe_app.preview.providers.local import PreviewService
from mobvibe_app.settings import AppSettings, load_settings
from mobvibe_app.studio.backend import Backend, View
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    OverviewChanged,
    PreviewChanged,
    ServiceChanged,
    SessionSelected,
    TroubleChanged,
    ViewChanged,
)
from mobvibe_app.studio.commands import ReplayDemo, SeeAs, SelectSession
from mobvibe_app.studio.feed import Feed
from mobvibe_app.studio.overview import Overview
from mobvibe_app.studio.studio import Studio
from mobvibe_app.wiring import build_environment, build_studio, open_backend
from mobvibe_worker.errors import DatabaseUnreachable, InputError, ServiceError
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import LOCAL_OWNER, Platform, Prompt, SessionId
from mobvibe_worker.store.seed import seed
from support.polling import until
from support.postgres.database import claimed

Connect = Callable[[str, Environment], AbstractAsyncContextManager[Backend]]


class Client:
    """A feed and every change that it reported."""

    def __init__(self, studio: Studio, person: str | None = None) -> None:
        self.feed = Feed(studio, person)
        self.seen: list[Change] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for change in self.feed.changes():
            self.seen.append(change)

    def titles(self) -> set[str]:
        """The titles of the sessions in its newest overview."""
        overviews = [change for change in self.seen if isinstance(change, OverviewChanged)]
        return {each.title for each in overviews[-1].sessions} if overviews else set()

    def selected(self) -> SessionId | None:
        chosen = [change for change in self.seen if isinstance(change, SessionSelected)]
        return chosen[-1].session_id if chosen else None

    def texts(self) -> list[object]:
        """The texts of all events that it showed."""
        batches = [change.events for change in self.seen if isinstance(change, EventsArrived)]
        return [event.data.get("text") for events in batches for event in events]

    def services(self) -> set[str]:
        """The services whose status it reported."""
        return {each.status.name for each in self.seen if isinstance(each, ServiceChanged)}


@pytest.fixture
async def settings(database_url: str, tmp_path: Path) -> AsyncIterator[AppSettings]:
    """The settings of a home whose host is another client, so that no service starts here."""
    await seed(database_url)
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    with FileLock(home / "run" / "host.lock"):
        yield load_settings({"postgres": database_url, "home": str(home)})


@pytest.fixture
async def studio(settings: AppSettings) -> AsyncIterator[Studio]:
    studio = build_studio(settings)
    yield studio
    await studio.close()


@asynccontextmanager
async def studio_connecting(settings: AppSettings, connect: Connect) -> AsyncIterator[Studio]:
    environment = build_environment(settings)
    studio = Studio(settings, environment, Maintenance(environment), connect, ())
    try:
        yield studio
    finally:
        await studio.close()


def studio_seeing(
    settings: AppSettings, see_as: Callable[[Backend, str], Awaitable[View]]
) -> AbstractAsyncContextManager[Studio]:
    """A studio whose other views come from `see_as`."""

    @asynccontextmanager
    async def connect(dsn: str, environment: Environment) -> AsyncIterator[Backend]:
        async with open_backend(settings, True, dsn, environment) as backend:
            yield replace(backend, see_as=partial(see_as, backend))

    return studio_connecting(settings, connect)


async def _two_sessions(studio: Studio) -> tuple[SessionId, SessionId]:
    stores = studio.backend.stores
    sessions = []
    for name in ("Heron", "Osprey"):
        project = await stores.projects.create(LOCAL_OWNER, name, 54)
        sessions.append(await stores.sessions.create(project.id, name, platform="mobile"))
        await stores.events.append(sessions[-1], [Message(f"about the {name}")])
    return sessions[0], sessions[1]


async def test_two_feeds_of_one_studio_have_their_own_selection_person_and_end(
    studio: Studio,
) -> None:
    first, second = Client(studio), Client(studio)
    await until(lambda: studio.is_open, 20)
    heron, osprey = await _two_sessions(studio)
    await first.feed.do(SelectSession(heron))
    await second.feed.do(SelectSession(osprey))
    await until(lambda: first.texts()[-1:] == ["about the Heron"], 20)
    await until(lambda: second.texts()[-1:] == ["about the Osprey"], 20)
    assert "about the Osprey" not in first.texts()
    assert first.services() == second.services() >= {"postgres", "worker"}

    await second.feed.do(SeeAs("grace@example.com"))
    await until(lambda: second.titles() == {"Plant diary", "Tip splitter"}, 20)
    assert ViewChanged("grace@example.com") in second.seen
    await until(lambda: first.titles() == {"Heron", "Osprey"}, 20)
    assert first.selected() == heron
    assert not [change for change in first.seen if isinstance(change, ViewChanged)]
    with pytest.raises(InputError, match="this view is read-only"):
        await second.feed.do(ReplayDemo("tip-splitter"))

    late = Client(studio, "ada@example.com")
    await until(lambda: bool(late.titles()), 20)
    assert late.services() == first.services()
    await second.feed.close()
    await late.feed.close()
    await asyncio.gather(second.reading, late.reading)
    await studio.backend.stores.events.append(heron, [Message("still here")])
    await until(lambda: first.texts()[-1:] == ["still here"], 20)
    await first.feed.close()
    await first.reading


async def test_a_moved_head_opens_the_preview_of_the_selected_session(
    studio: Studio, pool: Pool
) -> None:
    async def serve(
        session_id: SessionId, slug: str, version: int, platform: Platform
    ) -> PreviewAddress:
        return PreviewAddress(session_id, "exp://h:8081", version, "", "http://h:8081", slug=slug)

    async def previews(version: int) -> PreviewService:
        raise ServiceError("No Metro runs here.")

    def urls() -> list[str | None]:
        shown = [change.preview for change in client.seen if isinstance(change, PreviewChanged)]
        return [preview.url if preview else None for preview in shown]

    client = Client(studio)
    await until(lambda: studio.is_open, 20)
    mirror, stores = studio.backend.mirror, studio.backend.stores
    mirror.serve_folder, mirror.monitor = serve, PreviewMonitor(previews)
    heron, _ = await _two_sessions(studio)
    await stores.queue.enqueue(heron, Prompt("a heron"))
    (attempt,) = [
        attempt for job, attempt in await claimed(pool, slots=100) if job.session_id == heron
    ]
    starter = await stores.revisions.commit_template(attempt, {"App.tsx": b"starter"})
    await client.feed.do(SelectSession(heron))
    await until(lambda: urls()[-1:] == [None], 20)
    # No event announces this revision.
    await stores.revisions.commit_person(starter.project_id, starter.id, {"App.tsx": b"app"})
    await until(lambda: urls()[-1:] == ["exp://h:8081"], 20)
    await client.feed.close()
    await client.reading


async def test_a_view_that_cannot_be_read_at_first_is_shown_later(settings: AppSettings) -> None:
    faults = [DatabaseUnreachable()]

    async def see_as(backend: Backend, email: str) -> View:
        if faults:
            raise faults.pop()
        return await backend.see_as(email)

    async with studio_seeing(settings, see_as) as studio:
        client = Client(studio, "grace@example.com")
        await until(lambda: client.titles() == {"Plant diary", "Tip splitter"}, 20)
        await client.feed.close()
        await client.reading
    troubles = [change.message for change in client.seen if isinstance(change, TroubleChanged)]
    assert troubles == [DatabaseUnreachable().message, None]


async def test_only_the_session_chosen_while_a_view_opens_is_followed(
    settings: AppSettings,
) -> None:
    class Immediate(Overview):
        async def watch(self, on_change: Callable[[OverviewChanged], None]) -> None:
            on_change(newest)
            await asyncio.Event().wait()

    async def see_as(backend: Backend, email: str) -> View:
        own = backend.own.overview
        return replace(
            backend.own, email=email, overview=Immediate(own.stores, own.listener, own.owner)
        )

    async with studio_seeing(settings, see_as) as studio:
        client = Client(studio)
        await until(lambda: studio.is_open, 20)
        heron, osprey = await _two_sessions(studio)
        newest = await studio.backend.own.overview.read()
        await client.feed.do(SelectSession(heron))
        await client.feed.do(SeeAs("grace@example.com"))
        client.seen.clear()
        await client.feed.do(SelectSession(osprey))
        await until(lambda: client.texts() == ["about the Osprey"], 20)
        assert client.selected() == osprey
        followers = [task for task in asyncio.all_tasks() if task.get_name() == "feed-follow"]
        assert len(followers) == 1
        await client.feed.close()
        await client.reading


def ends_with(client: Client, text: str) -> bool:
    return client.texts()[-1:] == [text]


async def test_a_studio_opens_again_for_the_next_feed(studio: Studio) -> None:
    for text in ("one", "two"):
        client = Client(studio)
        await until(lambda: studio.is_open, 20)
        heron, _ = await _two_sessions(studio)
        await studio.backend.stores.events.append(heron, [Message(text)])
        await client.feed.do(SelectSession(heron))
        await until(partial(ends_with, client, text), 20)
        assert client.services() >= {"postgres", "worker"}
        await client.feed.close()
        await client.reading
        assert not studio.is_open


async def test_a_feed_opened_while_the_last_one_closes_finds_the_studio_open(
    studio: Studio,
) -> None:
    first = Client(studio)
    await until(lambda: studio.is_open, 20)
    closing = asyncio.create_task(first.feed.close())
    for _ in range(
        100_000
    ):  # Check on every turn of the loop: the studio may close faster than a poll notices.
        if studio._closing.locked():
            break
        await asyncio.sleep(0)
    assert studio._closing.locked()
    second = Client(studio)
    await closing
    await first.reading
    await until(lambda: "postgres" in second.services(), 20)
    await until(lambda: studio.is_open, 20)
    await second.feed.close()
    await second.reading


async def test_a_feed_opened_after_a_failed_start_starts_the_studio_again(
    settings: AppSettings,
) -> None:
    faults = [ServiceError("It cannot start.")]

    @asynccontextmanager
    async def connect(dsn: str, environment: Environment) -> AsyncIterator[Backend]:
        if faults:
            raise faults.pop()
        async with open_backend(settings, True, dsn, environment) as backend:
            yield backend

    async with studio_connecting(settings, connect) as studio:
        first = Client(studio)
        await until(lambda: TroubleChanged("It cannot start.") in first.seen, 20)
        second = Client(studio)
        await until(lambda: studio.is_open, 20)
        for client in (first, second):
            await until(partial(client.seen.__contains__, TroubleChanged(None)), 20)
            await client.feed.close()
            await client.reading
