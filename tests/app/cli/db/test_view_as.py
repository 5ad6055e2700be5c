"""`--as EMAIL` shows the dashboard under one person's row-level security, without other people's rows."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mobvibe_app.settings import AppSettings, load_settings
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    OverviewChanged,
    TroubleChanged,
    ViewChanged,
)
from mobvibe_app.studio.commands import (
    CancelJob,
    ReplayDemo,
    SeeAs,
    SelectSession,
    SubmitPrompt,
)
from mobvibe_app.studio.feed import Feed
from mobvibe_app.wiring import build_studio
from mobvibe_worker.errors import InputError, NotFound
from mobvibe_worker.jobs import QueueStats, SessionId
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.store.seed import seed
from support.polling import within

C = TypeVar("C", bound=Change)
Open = Callable[..., "Watched"]


class Watched:
    """A feed and the changes it reports."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._changes = feed.changes()

    async def next(self, kind: type[C]) -> C:
        """Wait for the next change of this kind, and skip the others."""
        async with within(20):
            async for change in self._changes:
                if isinstance(change, kind):
                    return change
        raise AssertionError("the feed ended")


def settings_for(url: str, home: Path, **more: str) -> AppSettings:
    return load_settings({"postgres": url, "home": str(home), **more})


@pytest.fixture
async def watch(database_url: str, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens feeds as a given person; they are closed after the test."""
    await seed(database_url)
    feeds: list[Feed] = []

    def opened(email: str) -> Watched:
        settings = settings_for(database_url, tmp_path / "home", view_as=email)
        feeds.append(Feed(build_studio(settings), email))
        return Watched(feeds[-1])

    yield opened
    for feed in feeds:
        await feed.close()


async def test_a_view_holds_only_that_persons_rows_and_is_read_only(watch: Open) -> None:
    seen = watch("GRACE@example.com")
    assert (await seen.next(ViewChanged)).email == "grace@example.com"
    overview = await seen.next(OverviewChanged)
    assert sorted(each.title for each in overview.sessions) == ["Plant diary", "Tip splitter"]
    assert overview.stats == QueueStats(completed=3, failed=1, cancelled=1)
    arrived = await seen.next(EventsArrived)
    assert arrived.events[0].session_id in [each.id for each in overview.sessions]

    for command in (SubmitPrompt("an app"), ReplayDemo("tip-splitter"), CancelJob()):
        with pytest.raises(InputError, match=r"viewing as grace@example\.com; this view is"):
            await seen.feed.do(command)


async def test_another_persons_session_shows_nothing_and_a_view_can_be_changed(watch: Open) -> None:
    seen = watch("ada@example.com")
    first = await seen.next(OverviewChanged)
    with pytest.raises(NotFound):
        await seen.feed.do(SeeAs("unknown@example.com"))
    await seen.feed.do(SeeAs("kofi@example.com"))
    assert (await seen.next(ViewChanged)).email == "kofi@example.com"
    assert [each.title for each in (await seen.next(OverviewChanged)).sessions] == ["Shift planner"]
    await seen.next(EventsArrived)
    await seen.feed.do(SelectSession(SessionId(first.sessions[0].id)))
    with pytest.raises(TimeoutError):
        async with within(0.5):
            await seen.next(EventsArrived)


async def test_an_unknown_email_is_reported_and_shows_no_rows(watch: Open) -> None:
    seen = watch("unknown@example.com")
    while (trouble := await seen.next(TroubleChanged)).message is None:
        pass
    assert "unknown@example.com" in trouble.message and "db seed" in trouble.remedy
    with pytest.raises(TimeoutError):
        async with within(0.5):
            await seen.next(OverviewChanged)
    with pytest.raises(InputError, match=r"viewing as unknown@example\.com"):
        await seen.feed.do(ReplayDemo("tip-splitter"))


async def plain_lines(url: str, home: Path, email: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mobvibe_app", "--as", email, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=allowed_environment({"DATABASE_URL": url, "MOBVIBE_HOME": str(home)}),
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_without_a_terminal_a_persons_view_is_printed(
    database_url: str, tmp_path: Path
) -> None:
    await seed(database_url)
    code, out, err = await plain_lines(database_url, tmp_path / "h", "kofi@example.com")
    assert code == 0, err
    overview = json.loads(out)["overview"]
    assert [each["project"] for each in overview["sessions"]] == ["shift-planner"]
    assert overview["queue"]["completed"] == 2
    code, out, err = await plain_lines(database_url, tmp_path / "h", "unknown@example.com")
    assert code == 2 and not out and "No person has the email 'unknown@example.com'" in err
