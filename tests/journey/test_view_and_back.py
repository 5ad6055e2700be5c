"""The dashboard through one person's row-level security and back: real studio, real worker, real Postgres."""

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


class Looking:
    """An open dashboard, and what its screen holds."""

    def __init__(self, app: MobvibeApp, feed: Feed, studio: Studio) -> None:
        self.app, self.feed, self.studio = app, feed, studio

    @property
    def screen(self) -> BuildScreen:
        """The main screen."""
        found = self.app.screen_stack[0]
        assert isinstance(found, BuildScreen)
        return found

    def titles(self) -> set[str]:
        """The apps in the panel of sessions."""
        return {each.title for each in self.app.state.sessions}

    def top(self) -> str:
        """The line at the top."""
        return self.screen.query_one(TopBar).render().plain

    def shows(self, word: str) -> bool:
        """Whether the stream has this word in sight."""
        stream = self.screen.query_one(StreamView)
        return any(word in stream.render_line(y).text for y in range(stream.size.height))

    def command(self, title: str) -> Callable[[], object] | None:
        """What the palette does under this name."""
        commands = self.app.get_system_commands(self.app.screen)
        return next((each.callback for each in commands if each.title == title), None)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait while the screen goes on."""
        await until(condition, 60, lambda: f"{what}: {self.top()} {self.titles()}")


@pytest.fixture
def own_home(make_expo_home: Callable[[int], Home]) -> Home:
    """A home that no other test looks at."""
    return make_expo_home(54)


async def prepared(home: Home) -> tuple[Environment, Pool, SessionId]:
    """Postgres up, with some people in it and one session of our own."""
    environment = build_environment(AppSettings(home=home.root))
    dsn = await environment.start(lambda status: None)
    await environment.migrate(dsn)
    await seed(dsn)
    pool = await open_pool(dsn, size=3)
    project = await ProjectStore(pool).create(LOCAL_OWNER, "My own app", 54)
    session = await SessionStore(pool).create(project.id, "mine")
    await EventLog(pool).append(session, [Message("heron")])
    return environment, pool, session


@pytest.mark.parametrize("way", ["started as a person", "from the palette"])
async def test_back_is_as_if_one_had_never_left(own_home: Home, way: str) -> None:
    environment, pool, mine = await prepared(own_home)
    log = EventLog(pool)
    is_started_so = way == "started as a person"
    email = "grace@example.com"
    studio = build_studio(AppSettings(home=own_home.root, view_as=email if is_started_so else None))
    feed = Feed(studio, email if is_started_so else None)
    app = MobvibeApp(lambda: feed, version="0", model_label="demo")
    try:
        async with app.run_test(size=(120, 40)):
            looking = Looking(app, feed, studio)
            if not is_started_so:
                await looking.until(lambda: looking.titles() == {"My own app"}, "our own view")
                await looking.until(lambda: looking.shows("heron"), "our own events")
                await feed.do(SeeAs(email))
            await looking.until(lambda: f"as {email}" in looking.top(), "whose view it is")
            await looking.until(lambda: looking.titles() == GRACES, "her apps")
            await looking.until(lambda: looking.shows(HERS), "her events")
            assert not looking.shows("heron") and studio.is_host is not is_started_so
            with pytest.raises(InputError):
                await feed.do(ReplayDemo("tip-splitter"))

            back = looking.command("My own view")
            assert back is not None
            back()
            await looking.until(lambda: "as grace" not in looking.top(), "that it is ours")
            await looking.until(lambda: looking.titles() == {"My own app"}, "our own apps")
            await looking.until(lambda: looking.shows("heron"), "our events")
            assert not looking.shows(HERS)
            await looking.until(lambda: studio.is_host, "the host's part")
            await log.append(mine, [Message("osprey")])
            await looking.until(lambda: looking.shows("osprey"), "the next event")
            assert looking.shows("heron") and not looking.shows(HERS)
            assert looking.command("My own view") is None
            await feed.do(CancelJob())
            await looking.until(lambda: bool(app._notifications), "that no job was left")
    finally:
        await feed.close()
        await pool.close()
        await environment.shut_down()
        await environment.close()
