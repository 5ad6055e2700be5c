"""Drives the dashboard over a scripted studio without a terminal: presses keys, reads the screen, waits.

A key takes effect some time after it is pressed, so every test waits for the text or state that it expects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from textual.pilot import Pilot
from textual.widgets import Input

from mobvibe_app.studio.commands import Command
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.screens.build import BuildScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.widgets.prompt_box import PromptBox
from mobvibe_app.ui.widgets.top_bar import TopBar
from support.polling import until
from support.scripted_studio import DEMOS, ScriptedStudio


class Shown:
    """A running dashboard."""

    def __init__(self, app: MobvibeApp, studio: ScriptedStudio, pilot: Pilot[None]) -> None:
        self.app, self.studio, self.pilot = app, studio, pilot

    @property
    def build(self) -> BuildScreen:
        """The main screen, even if another one covers it."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, BuildScreen)
        return screen

    @property
    def stream(self) -> StreamView:
        return self.build.query_one(StreamView)

    @property
    def prompt(self) -> PromptBox:
        return self.build.query_one(PromptBox)

    @property
    def top(self) -> str:
        """The text of the top bar."""
        return self.build.query_one(TopBar).render().plain

    @property
    def text(self) -> str:
        """The drawn screen, one line per row."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    @property
    def footer(self) -> str:
        """The last drawn line, which lists the keys."""
        return self.text.splitlines()[-1]

    @property
    def commands(self) -> dict[str, Callable[[], object]]:
        """The palette's current commands, by title."""
        return {each.title: each.callback for each in self.app.get_system_commands(self.app.screen)}

    async def press(self, *keys: str) -> None:
        """Press keys and let the app process them. Wait for their effect with `until`."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def write(self, *keys: str, after: str = "i") -> None:
        """Press `after` to focus the prompt, then press the keys."""
        await self.press(after)
        await self.until(lambda: self.prompt.has_focus)
        await self.press(*keys)

    async def search(self, text: str) -> None:
        """Search the stream."""
        await self.press("slash")
        await self.until(lambda: isinstance(self.app.focused, Input))
        await self.press(*text, "enter")

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until the condition holds; the failure shows the screen."""
        await until(condition, seconds, lambda: f"on this screen:\n{self.text}")
        await self.pilot.pause()

    async def until_text(self, text: str) -> None:
        """Wait until the text is on the screen, on one line or wrapped."""
        await self.until(lambda: text in self.text or text in " ".join(self.text.split()))

    async def until_no_text(self, text: str) -> None:
        """Wait until the text is no longer on the screen."""
        await self.until(lambda: text not in self.text)

    async def until_screen(self, kind: type) -> None:
        """Wait until a screen of this kind is on top."""
        await self.until(lambda: isinstance(self.app.screen, kind))

    async def until_asked(self, *asked: Command) -> None:
        """Wait until the studio has received exactly these commands, in this order."""
        await self.until(lambda: self.studio.asked == list(asked))


@asynccontextmanager
async def shown(studio: ScriptedStudio, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Shown]:
    """Run the dashboard over this studio; `size` is columns by rows."""
    app = MobvibeApp(
        lambda: studio, version="0.1.0", model_label="demo: recorded, no cost", demos=DEMOS
    )
    async with app.run_test(size=size, notifications=True) as pilot:
        yield Shown(app, studio, pilot)
