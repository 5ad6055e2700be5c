"""The dashboard switches to another person's view and back to the owner's, on a real studio, worker and Postgres."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asyncpg import Pool

from mobvibe_app.environment.environment import Environment
from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.commands import CancelJob, ReplayDemo, SeeAs
from mobvibe_app.studio.feed import Feed
from mobvibe_app.studio.studio import Studio
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.screens.build import BuildScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.widgets.top_bar import TopBar
from mobvibe_app.wiring import build_environment, build_studio
from mobvibe_worker.errors import InputError
from mobvibe_worker.events import Message
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, SessionId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.seed import seed
from mobvibe_worker.store.sessions import SessionStore
from support.polling import until

GRACES, HERS = {"Tip splitter", "Plant diary"}, "Round every"

pytestmark = [pytest.mark.expo, pytest.mark.timeout(300)]


class OpenDashboard:
    """An open dashboard and what its screen shows."""

    def __init__(self, app: MobvibeApp, feed: Feed, studio: Studio) -> None:
        self.app, self.feed, self.studio = app, feed, studio

    @property
    def screen(self) -> BuildScreen:
        found = self.app.screen_stack[0]
        assert isinstance(found, BuildScreen)
        return found

    def titles(self) -> set[str]:
        """The apps listed in the panel of sessions."""
        return {each.title for each in self.app.state.sessions}

    def top(self) -> str:
        """The text of the top bar."""
        return self.screen.query_one(TopBar).render().plain

    def shows(self, word: str) -> bool:
        """Whether the visible part of the stream contains this word."""
        stream = self.screen.query_one(StreamView)
        return any(word in stream.render_line(y).text for y in range(stream.size.height))

    def command(self, title: str) -> Callable[[], object] | None:
        """The palette's action with this title; None if the palette has none."""
        commands = self.app.get_system_commands(self.app.screen)
        return next((each.callback for each in commands if each.title == title), None)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the condition; on failure report what the screen shows."""
        await until(condition, 60, lambda: f"{what}: {self.top()} {self.titles()}")


@pytest.fixture
def own_home(make_expo_home: Callable[[int], Home]) -> Home:
    """A home for this test alone."""
    return make_expo_home(54)


async def prepared(home: Home) -> tuple[Environment, Pool, SessionId]:
    """Start Postgres, seed it with people, and add a session of the local owner."""
    environment = build_environment(AppSettings(home=home.root))
    dsn = await environment.start(lambda status: None)
    await environment.migrate(dsn)
    await seed(dsn)
    pool = await open_pool(dsn, size=3)
    project = await ProjectStore(pool).create(LOCAL_OWNER, "My own app", 54)
    session = await SessionStore(pool).create(project.id, "mine")
    await EventLog(pool).append(session, [Message("heron")])
    return environment, pool, session


@pytest.mark.parametrize("is_from_start", [True, False], ids=["from the start", "from the palette"])
async def test_the_owners_view_is_complete_after_another_persons_view(
    own_home: Home, is_from_start: bool
) -> None:
    environment, pool, mine = await prepared(own_home)
    log = EventLog(pool)
    email = "grace@example.com"
    studio = build_studio(AppSettings(home=own_home.root, view_as=email if is_from_start else None))
    feed = Feed(studio, email if is_from_start else None)
    app = MobvibeApp(lambda: feed, version="0", model_label="demo")
    try:
        async with app.run_test(size=(120, 40)):
            dashboard = OpenDashboard(app, feed, studio)
            if not is_from_start:
                await dashboard.until(
                    lambda: dashboard.titles() == {"My own app"}, "the owner's view"
                )
                await dashboard.until(lambda: dashboard.shows("heron"), "the owner's events")
                await feed.do(SeeAs(email))
            await dashboard.until(
                lambda: f"as {email}" in dashboard.top(), "the person's email at the top"
            )
            await dashboard.until(lambda: dashboard.titles() == GRACES, "her apps")
            await dashboard.until(lambda: dashboard.shows(HERS), "her events")
            assert not dashboard.shows("heron") and studio.is_host is not is_from_start
            with pytest.raises(InputError):
                await feed.do(ReplayDemo("tip-splitter"))

            back = dashboard.command("My own view")
            assert back is not None
            back()
            await dashboard.until(
                lambda: "as grace" not in dashboard.top(), "the owner's view at the top"
            )
            await dashboard.until(lambda: dashboard.titles() == {"My own app"}, "the owner's apps")
            await dashboard.until(lambda: dashboard.shows("heron"), "the owner's events")
            assert not dashboard.shows(HERS)
            await dashboard.until(lambda: studio.is_host, "being the host")
            await log.append(mine, [Message("osprey")])
            await dashboard.until(lambda: dashboard.shows("osprey"), "the next event")
            assert dashboard.shows("heron") and not dashboard.shows(HERS)
            assert dashboard.command("My own view") is None
            await feed.do(CancelJob())
            await dashboard.until(
                lambda: bool(app._notifications), "the notice that there is no job"
            )
    finally:
        await feed.close()
        await pool.close()
        await environment.shut_down()
        await environment.close()
