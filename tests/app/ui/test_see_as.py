"""The palette switches to another person's view, which the top bar names, and back."""

from __future__ import annotations

from mobvibe_app.studio.changes import ViewChanged
from mobvibe_app.studio.commands import SeeAs
from mobvibe_app.ui.screens.see_as import SeeAsScreen
from support.dashboard import shown
from support.scripted_studio import ScriptedStudio, build_changes, services_up


async def test_the_palette_asks_for_an_email_and_the_top_bar_names_the_view() -> None:
    async with shown(ScriptedStudio([*services_up(), *build_changes()])) as on:
        await on.until(lambda: on.stream.virtual_size.height > 0)
        assert "My own view" not in on.commands
        on.commands["View as a user"]()
        await on.until_screen(SeeAsScreen)
        await on.until(
            lambda: on.app.focused is not None and on.app.focused.screen is on.app.screen
        )
        await on.press(*"ada@x.org", "enter")
        await on.until(lambda: SeeAs("ada@x.org") in on.studio.asked)
        await on.until(lambda: "as ada@x.org" in on.top)
        await on.until(lambda: on.stream.virtual_size.height == 0)
        on.commands["My own view"]()
        await on.until(lambda: SeeAs(None) in on.studio.asked)
        await on.until(lambda: "as ada" not in on.top)


async def test_an_email_cannot_drive_the_top_bar() -> None:
    hostile = ViewChanged("\x1b[2J[red]x\u202e@y.org")
    async with shown(ScriptedStudio([*services_up(), hostile]), (80, 24)) as on:
        await on.until(lambda: "@y.org" in on.top)
        assert "\x1b" not in on.top and "\u202e" not in on.top and "[red]x" in on.top
