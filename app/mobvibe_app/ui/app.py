"""The dashboard: themes, breakpoints, leaving it, and the commands that every screen shares."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
import webbrowser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, ClassVar

from rich.text import Text
from textual import constants, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from mobvibe_app.studio.changes import DemoSummary
from mobvibe_app.studio.commands import RebuildService, RestartService
from mobvibe_app.ui.clipboard import copy_with_tool
from mobvibe_app.ui.screens.build import BuildScreen
from mobvibe_app.ui.screens.confirm import ConfirmScreen
from mobvibe_app.ui.screens.help import HelpScreen
from mobvibe_app.ui.studio_port import StudioPort
from mobvibe_app.ui.theme import DARK, own_themes
from mobvibe_app.ui.widgets.too_small import LEAST_COLUMNS, LEAST_ROWS
from mobvibe_worker.sanitize import clean_text

TEXTUALS_DEFAULT = "textual-dark"
LEAVING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class MobvibeApp(App[None]):
    """One dashboard over one studio. `run` closes the studio when the terminal has been given back."""

    TITLE = "mobvibe"
    # The first screen's own stylesheet would not be read.
    CSS_PATH: ClassVar[list[str | PurePath]] = ["app.tcss", "screens/build.tcss"]
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [  # noqa: RUF012
        (0, "-tiny"),
        (LEAST_COLUMNS, "-narrow"),
        (100, "-mid"),
        (150, "-wide"),
    ]
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [  # noqa: RUF012
        (0, "-flat"),
        (LEAST_ROWS, "-short"),
        (32, "-tall"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", "Copy or quit", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, system=True),
    ]

    def __init__(
        self,
        studio: StudioPort,
        *,
        version: str,
        model_label: str,
        demos: Sequence[DemoSummary] = (),
    ) -> None:
        # Without colour an ansi theme loses even the code's black and white, so it is not native then.
        super().__init__(ansi_color=False if "NO_COLOR" in os.environ else None)
        self._studio = studio
        self._version = version
        for theme in own_themes():
            self.register_theme(theme)
        chosen = self.get_theme(constants.DEFAULT_THEME)
        is_drained = self.no_color and chosen is not None and chosen.ansi
        if constants.DEFAULT_THEME == TEXTUALS_DEFAULT or chosen is None or is_drained:
            self.theme = DARK
        self._build = BuildScreen(studio, model_label=model_label, demos=demos)

    def get_default_screen(self) -> Screen[None]:
        """The main screen is the first one, so that nothing is painted twice."""
        return self._build

    async def run_async(self, **options: Any) -> None:
        """Run until quit, a signal or a failure; then close the studio, in each case."""
        try:
            with self._leaving_on_signals():
                await super().run_async(**options)
        finally:
            await self._studio.close()

    @contextmanager
    def _leaving_on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in LEAVING:
            loop.add_signal_handler(number, self._leave, number)
        try:
            yield
        finally:
            for number in LEAVING:
                loop.remove_signal_handler(number)

    def _leave(self, number: int) -> None:
        self.exit(return_code=128 + number)

    def _fatal_error(self) -> None:
        """Textual's own report shows local variables, which may hold secrets, and raw text."""
        self.panic(Text(clean_text(traceback.format_exc())))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: ours first, then Textual's."""
        build = self._build
        yield SystemCommand("New app", "A prompt for a new app (n)", build.action_new_app)
        yield SystemCommand("Replay a recorded build", "No key, no cost (d)", build.action_demos)
        if build.state.preview is not None:
            yield SystemCommand("QR code", "Scan it with Expo Go (v)", build.action_large_qr)
            yield SystemCommand("Copy the address", "What the QR holds (y)", self.action_copy_url)
        if build.state.is_job_unfinished:
            yield SystemCommand("Cancel the job", "Asks first (x)", build.action_cancel)
        yield from self._care_commands()
        if build.state.viewed_as is not None:
            yield SystemCommand("My own view", "Leave this person's view", build.action_own_view)
        told = "What their phone would get, through row-level security"
        yield SystemCommand("View as a user", told, build.action_see_as)
        yield from super().get_system_commands(screen)

    def _care_commands(self) -> Iterator[SystemCommand]:
        build = self._build
        if build.state.viewed_as is not None:
            return
        if build.state.preview is not None:
            told = "Stops this app's Metro and starts it again"
            yield SystemCommand("Restart the preview", told, build.doing(RestartService("preview")))
        told = "Its rows and its address stay"
        yield SystemCommand("Restart Postgres", told, build.doing(RestartService("postgres")))
        told = "Builds the image, or fills the transform cache, anew: minutes"
        yield SystemCommand("Rebuild previews", told, build.doing(RebuildService("preview")))

    def action_help(self) -> None:
        """Every key."""
        self.push_screen(HelpScreen(self._version))

    async def action_quit(self) -> None:
        """Leave; ask first where a job would be stopped."""
        if not self._build.state.is_anything_running:
            self.exit()
            return

        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self.exit()

        consequence = "It goes back to the queue and is built by the next mobvibe-tui on this home."
        self.push_screen(ConfirmScreen("A job is running. Quit?", consequence, "quit"), answered)

    async def action_interrupt(self) -> None:
        """Copy what is selected; else quit, without asking twice."""
        focused = self.focused
        selected = self.screen.get_selected_text() or getattr(focused, "selected_text", "")
        if selected:
            self._copy(selected)
        elif isinstance(self.screen, ConfirmScreen):
            self.exit()
        else:
            await self.action_quit()

    def action_copy_url(self) -> None:
        """Copy what is selected, else the preview's address."""
        preview = self._build.state.preview
        text = self.screen.get_selected_text() or (preview.url if preview else "")
        if text:
            self._copy(text)

    @work(exit_on_error=False, group="clipboard")
    async def _copy(self, text: str) -> None:
        self.copy_to_clipboard(text)
        if await copy_with_tool(text):
            self.notify("Copied.", markup=False, timeout=4)
        else:
            told = "Sent to the terminal's clipboard (OSC 52); not every terminal takes it."
            self.notify(told, markup=False, timeout=4)

    def action_open_web(self) -> None:
        """Open the web version, but never a browser that would take this terminal."""
        preview = self._build.state.preview
        if preview is None:
            return
        try:
            browser = webbrowser.get()
        except webbrowser.Error:
            browser = None
        if browser is None or type(browser) is webbrowser.GenericBrowser:
            told = (
                f"No graphical browser here. Open {clean_text(preview.web_url)} on another machine."
            )
            self.notify(told, markup=False, timeout=8)
        else:
            self.open_url(preview.web_url)
