"""The mirror survives a blocked folder, starts only needed previews, and moves clients to each new head."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from asyncpg import Pool

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import PreviewFacts, PreviewKnown
from mobvibe_app.preview.head_mirror import HeadMirror
from mobvibe_app.preview.monitor import PreviewMonitor
from mobvibe_app.preview.providers.local import PreviewService
from mobvibe_app.preview.served_project import may_be_edited
from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import Change, PreviewChanged
from mobvibe_app.studio.preview_feed import PreviewFeed
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.events import FileChange
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, Attempt, Job, Platform, SessionId, WorkerId
from mobvibe_worker.store.claims import Claims, FinishedWork
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.stores import Stores
from mobvibe_worker.workspace.publish import ServedFolder
from support.polling import patient, until, within
from support.postgres.database import GREEN, running_job

OUR_HOME = "cafe"
STARTER = {"App.tsx": b"starter"}


@dataclass
class Hosted:
    """A project of a home whose starts of Metro are only counted."""

    home: Home
    pool: Pool
    job: Job
    folder: ServedFolder
    reported: list[ServiceStatus] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    fault: ServiceError | None = None
    port: int = 8081
    platform: Platform = "mobile"

    async def serve(
        self, session_id: SessionId, slug: str, version: int, platform: Platform
    ) -> PreviewAddress:
        if self.fault is not None:
            raise self.fault
        self.served.append(slug)
        self.folder.served_on(self.port)
        url, metro_url = f"exp://h:{self.port}", f"http://h:{self.port}"
        return PreviewAddress(
            session_id, url, version, "57.0.0", metro_url, slug=slug, platform=self.platform
        )

    async def previews(self, version: int) -> PreviewService:
        raise ServiceError("No Metro runs here.")

    def mirror(self, listener: Listener) -> HeadMirror:
        return HeadMirror(
            self.home,
            OUR_HOME,
            LOCAL_OWNER,
            Stores(self.pool),
            self.serve,
            listener,
            PreviewMonitor(self.previews),
            self.reported.append,
        )


class Running(PreviewMonitor):
    """Reports every Metro as running until `stop` is called."""

    def __init__(self, hosted: Hosted) -> None:
        super().__init__(hosted.previews)
        self._known: PreviewKnown | None = None
        self._moved = asyncio.Event()

    def watch(self, address: PreviewAddress) -> None:
        self._move(PreviewKnown(address.slug, PreviewFacts()))

    def stop(self, slug: str) -> None:
        self._move(PreviewKnown(slug, PreviewFacts(ended="")))

    def known(self, slug: str) -> PreviewKnown | None:
        return self._known

    async def follow(self, slug: str) -> AsyncIterator[PreviewKnown]:
        while True:
            moved = self._moved
            if self._known is not None:
                yield self._known
            await moved.wait()

    def _move(self, known: PreviewKnown) -> None:
        self._known = known
        self._moved.set()
        self._moved = asyncio.Event()


@dataclass
class Shown:
    """The session's preview as a client shows it."""

    changes: list[Change] = field(default_factory=list)
    statuses: list[ServiceStatus] = field(default_factory=list)

    def urls(self) -> list[str | None]:
        previews = [each.preview for each in self.changes if isinstance(each, PreviewChanged)]
        return [preview.url if preview else None for preview in previews]

    def state(self) -> str | None:
        return self.statuses[-1].state if self.statuses else None


@asynccontextmanager
async def showing(hosted: Hosted, mirror: HeadMirror) -> AsyncIterator[Shown]:
    shown = Shown()
    mirror.on_status = shown.statuses.append
    feed = PreviewFeed(hosted.job.session_id, mirror, shown.changes.append, shown.statuses.append)
    running = asyncio.create_task(feed.run())
    try:
        yield shown
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def hosted(pool: Pool, tmp_path: Path) -> AsyncIterator[Hosted]:
    """A project whose head, the starter, is published."""
    job, attempt = await running_job(pool)
    await RevisionStore(pool).commit_template(attempt, STARTER)
    project = await ProjectStore(pool).get(job.project_id)
    home = Home(tmp_path / "home")
    folder = ServedFolder(home.sdk(project.sdk).served(project.slug))
    folder.publish(STARTER, "template")
    yield Hosted(home, pool, job, folder)


async def edit(hosted: Hosted, text: bytes) -> None:
    revisions = RevisionStore(hosted.pool)
    head = await revisions.head(hosted.job.project_id)
    assert head is not None
    await revisions.commit_person(hosted.job.project_id, head[0].id, {"App.tsx": text})


async def test_a_blocked_folder_is_reported_and_the_host_continues(
    hosted: Hosted, database_url: str
) -> None:
    records = hosted.folder.root.parent / ".published"
    shutil.rmtree(records)
    records.write_text("not a folder")
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        running = asyncio.create_task(mirror.run())
        await until(lambda: listener.is_connected)
        await edit(hosted, b"one")
        with pytest.raises(ServiceError, match="cannot start"):
            await mirror.open(hosted.job.session_id)
        await until(lambda: bool(hosted.reported) or running.done())
        assert not running.done()
        assert (hosted.reported[0].name, hosted.reported[0].state) == ("preview", "failed")
        assert hosted.reported[0].remedy
        records.unlink()
        await edit(hosted, b"two")
        await until(lambda: (hosted.folder.root / "App.tsx").read_bytes() == b"two")
        running.cancel()


async def test_a_failed_start_is_reported_once(hosted: Hosted, database_url: str) -> None:
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        await finish(hosted)
        hosted.fault = ServiceError("It cannot start.", "Wait.")
        with pytest.raises(ServiceError):
            await mirror.open(hosted.job.session_id)
    (failed,) = hosted.reported
    assert (failed.state, failed.remedy) == ("failed", "Wait.")
    assert failed.detail == f"{failed.project}: It cannot start."


async def test_an_unopened_project_starts_no_metro_and_a_replaced_folder_restarts_one(
    hosted: Hosted, database_url: str
) -> None:
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        running = asyncio.create_task(mirror.run())
        await until(lambda: bool(mirror._projects))
        (hosted.folder.root / "App.tsx").write_bytes(b"edited")
        revisions = RevisionStore(hosted.pool)
        head = await revisions.head(hosted.job.project_id)
        async with within(10):
            while head is None or head[1] != {"App.tsx": b"edited"}:
                await asyncio.sleep(0.1)
                (hosted.folder.root / "App.tsx").write_bytes(b"edited")
                head = await revisions.head(hosted.job.project_id)
        assert hosted.served == []
        hosted.folder.served_on(8081)
        hosted.folder.root.rename(hosted.folder.root.parent / "gone")
        await until(lambda: len(hosted.served) == 1)
        assert (hosted.folder.root / "App.tsx").read_bytes() == b"edited"
        assert not hosted.folder.is_replaced and not running.done()
        running.cancel()


async def test_a_notice_that_names_no_project_does_not_end_the_host(
    hosted: Hosted, database_url: str
) -> None:
    async with Listener(database_url) as listener:
        running = asyncio.create_task(hosted.mirror(listener).run())
        await until(lambda: listener.is_connected)
        await hosted.pool.execute("select pg_notify('project_head', 'x')")
        await edit(hosted, b"next")
        await until(
            lambda: running.done() or (hosted.folder.root / "App.tsx").read_bytes() == b"next"
        )
        assert not running.done()
        running.cancel()


async def test_a_preview_that_another_client_moved_to_another_port_is_opened_there(
    hosted: Hosted, database_url: str
) -> None:
    await edit(hosted, b"app")
    async with Listener(database_url) as listener:
        host, other = hosted.mirror(listener), hosted.mirror(listener)
        for mirror in (host, other):
            mirror.monitor = Running(hosted)
        before = await other.open(hosted.job.session_id)
        assert await other.open(hosted.job.session_id) is before
        hosted.port = 8082
        after = await host.open(hosted.job.session_id)
        assert after is not None and after.metro_url == "http://h:8082"
        assert await other.open(hosted.job.session_id) == after


async def test_a_head_is_published_while_a_page_is_checked(
    hosted: Hosted, database_url: str
) -> None:
    asked = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    await edit(hosted, b"app")
    async with await asyncio.start_server(never_answer, "127.0.0.1") as server:
        await hosted.pool.execute("update coding_sessions set platform = 'web'")
        hosted.port, hosted.platform = server.sockets[0].getsockname()[1], "web"
        async with Listener(database_url) as listener:
            mirror = hosted.mirror(listener)
            opening = asyncio.create_task(mirror.open(hosted.job.session_id))
            async with within(20):
                await asked.wait()
            hosted.folder.served_on(None)
            running = asyncio.create_task(mirror.run())
            await until(lambda: listener.is_connected)
            await edit(hosted, b"next")
            await until(lambda: (hosted.folder.root / "App.tsx").read_bytes() == b"next")
            assert not opening.done()
            for task in (opening, running):
                task.cancel()
            await asyncio.gather(opening, running, return_exceptions=True)


async def finish(hosted: Hosted) -> None:
    """Complete the job's attempt with a green revision by the agent."""
    revisions = RevisionStore(hosted.pool)
    head = await revisions.head(hosted.job.project_id)
    assert head is not None
    attempt = Attempt(hosted.job.id, hosted.job.attempt, WorkerId("w1"))
    await Claims(hosted.pool).complete(
        attempt, FinishedWork({"App.tsx": b"made"}, head[0].id, GREEN)
    )


@pytest.mark.parametrize("is_ours", [True, False])
async def test_only_the_home_of_a_session_announces_its_address(
    hosted: Hosted, database_url: str, is_ours: bool
) -> None:
    sessions, events = SessionStore(hosted.pool), EventLog(hosted.pool)
    await sessions.take_home(hosted.job.session_id, OUR_HOME if is_ours else "beef")
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        running = asyncio.create_task(mirror.run())
        await until(lambda: listener.is_connected)
        await finish(hosted)
        # Every home publishes the files, but only the session's home announces the address.
        await until(lambda: (hosted.folder.root / "App.tsx").read_bytes() == b"made")
        if is_ours:
            await until(lambda: bool(hosted.served))
            await announced(events, hosted)
            assert (await sessions.get(hosted.job.session_id)).metro_url == "http://h:8081"
        else:
            # This home serves what it opens, and leaves the session's address to the other home.
            assert await mirror.open(hosted.job.session_id) is not None
            assert (await sessions.get(hosted.job.session_id)).metro_url is None
        assert await ready_urls(events, hosted) == (["exp://h:8081"] if is_ours else [])
        running.cancel()


@pytest.mark.parametrize("is_host", [True, False])
async def test_a_client_shows_every_head_with_one_start_of_metro(
    hosted: Hosted, database_url: str, is_host: bool
) -> None:
    await SessionStore(hosted.pool).take_home(hosted.job.session_id, OUR_HOME)
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        mirror.monitor = Running(hosted)
        running = asyncio.create_task(mirror.run() if is_host else asyncio.Event().wait())
        async with showing(hosted, mirror) as shown:
            await until(lambda: shown.urls() == [None] and listener.is_connected)
            await finish(hosted)
            await until(lambda: shown.urls() == [None, "exp://h:8081"])
            if is_host:
                await announced(EventLog(hosted.pool), hosted)
            assert (hosted.folder.root / "App.tsx").read_bytes() == b"made"
            await edit(hosted, b"edited")
            await until(lambda: shown.urls() == [None, "exp://h:8081", "exp://h:8081"])
            assert (hosted.folder.root / "App.tsx").read_bytes() == b"edited"
            assert len(hosted.served) == 1
            assert not running.done()
        running.cancel()


async def test_a_preview_that_failed_is_opened_again_once_the_host_serves_it(
    hosted: Hosted, database_url: str
) -> None:
    await SessionStore(hosted.pool).take_home(hosted.job.session_id, OUR_HOME)
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        mirror.monitor = Running(hosted)
        async with showing(hosted, mirror) as shown:
            await until(lambda: shown.urls() == [None] and listener.is_connected)
            hosted.fault = ServiceError("It cannot start.")
            await finish(hosted)
            await until(lambda: shown.state() == "failed")
            hosted.fault = None
            running = asyncio.create_task(mirror.run())
            await until(lambda: shown.urls() == [None, "exp://h:8081"])
            assert len(hosted.served) == 1
            running.cancel()


async def test_a_gap_in_the_notices_repeats_a_failed_start_but_not_a_stopped_preview(
    hosted: Hosted, database_url: str
) -> None:
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        monitor = mirror.monitor = Running(hosted)
        async with showing(hosted, mirror) as shown:
            await until(lambda: shown.urls() == [None] and listener.is_connected)
            hosted.fault = ServiceError("It cannot start.")
            await finish(hosted)
            await until(lambda: shown.state() == "failed")
            hosted.fault = None
            await hosted.pool.execute("select pg_notify('project_head', '')")
            await until(lambda: shown.urls() == [None, "exp://h:8081"])
            (slug,) = hosted.served
            monitor.stop(slug)
            await until(lambda: shown.state() == "stopped")
            hosted.port = 8082
            heads = mirror.heads(hosted.job.session_id)
            seen = [await anext(heads)]
            for payload in ("", str(uuid4())) * 20:
                await hosted.pool.execute("select pg_notify('project_head', $1)", payload)
            # One for the subscription itself and one for each gap, but none for another project's head.
            seen += [await anext(heads) for _ in range(1 + 20)]
            assert len(set(seen)) == 1
            assert (shown.state(), len(hosted.served)) == ("stopped", 1)
            hosted.port = 8083
            await edit(hosted, b"edited")
            await until(lambda: shown.urls()[-1] == "exp://h:8083")
            assert "exp://h:8082" not in shown.urls()


async def test_an_edit_found_on_opening_becomes_a_revision_and_an_event(
    hosted: Hosted, database_url: str
) -> None:
    session_id = hosted.job.session_id
    await edit(hosted, b"app")
    async with Listener(database_url) as listener:
        mirror = hosted.mirror(listener)
        mirror.monitor = Running(hosted)
        first = await mirror.open(session_id)
        (hosted.folder.root / "App.tsx").write_bytes(b"edited")
        assert await mirror.open(session_id) is first
    head = await RevisionStore(hosted.pool).head(hosted.job.project_id)
    assert head is not None and head[1] == {"App.tsx": b"edited"}
    events = await EventLog(hosted.pool).read(session_id)
    assert [event.payload for event in events[-1:]] == [FileChange("App.tsx", "modified")]


async def announced(events: EventLog, hosted: Hosted) -> None:
    """Wait until the session's events announce an address."""
    deadline = time.monotonic() + patient(10)
    while not await ready_urls(events, hosted):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def ready_urls(events: EventLog, hosted: Hosted) -> list[str]:
    """The addresses that the session's events announce."""
    found = await events.read(hosted.job.session_id)
    return [event.data["url"] for event in found if event.type == "preview_ready"]


def test_a_home_inside_a_package_or_cache_folder_is_watched_too() -> None:
    root = Path("/x/node_modules/.expo-homes/served/tips")
    assert may_be_edited(root / "App.tsx", root)
    assert not may_be_edited(root / ".expo" / "x", root)
    assert not may_be_edited(root / "node_modules" / "x", root)
