"""See as a person: from the palette, named at the top, and back."""

from __future__ import annotations

import asyncio
import time

from textual.app import App

from mobvibe_app.studio.changes import ViewChanged
from mobvibe_app.studio.commands import SeeAs
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.screens.see_as import SeeAsScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.widgets.top_bar import TopBar
from support.scripted_studio import ScriptedStudio, build_changes, services_up


async def _until(app: App[None], is_true: object) -> None:
    assert callable(is_true)
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)


async def test_the_palette_asks_for_an_email_and_the_top_says_whose_view_it_is() -> None:
    studio = ScriptedStudio([*services_up(), *build_changes()])
    app = MobvibeApp(studio, version="0", model_label="demo")
    async with app.run_test(size=(120, 40)) as pilot:
        build = app.screen_stack[0]
        stream = build.query_one(StreamView)
        await _until(app, lambda: stream.virtual_size.height > 0)

        def commands() -> dict[str, object]:
            return {each.title: each.callback for each in app.get_system_commands(app.screen)}

        assert "My own view" not in commands()
        see_as = commands()["View as a user"]
        assert callable(see_as)
        see_as()
        await _until(app, lambda: isinstance(app.screen, SeeAsScreen))
        await pilot.pause()
        await pilot.press(*"ada@x.org", "enter")
        await _until(app, lambda: SeeAs("ada@x.org") in studio.asked)

        def top() -> str:
            return build.query_one(TopBar).render().plain

        await _until(app, lambda: "as ada@x.org" in top())
        await _until(app, lambda: stream.virtual_size.height == 0)
        back = commands()["My own view"]
        assert callable(back)
        back()
        await _until(app, lambda: SeeAs(None) in studio.asked)
        await _until(app, lambda: "as ada" not in top())


async def test_an_email_cannot_drive_the_top_bar() -> None:
    studio = ScriptedStudio([*services_up(), ViewChanged("\x1b[2J[red]x\u202e@y.org")])
    app = MobvibeApp(studio, version="0", model_label="demo")
    async with app.run_test(size=(80, 24)):
        bar = app.screen_stack[0].query_one(TopBar)
        await _until(app, lambda: "@y.org" in bar.render().plain)
        shown = bar.render().plain
        assert "\x1b" not in shown and "\u202e" not in shown and "[red]x" in shown
