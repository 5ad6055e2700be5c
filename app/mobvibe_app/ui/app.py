"""The dashboard: owns the state and the feed, carries out commands, and gives the terminal back."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import Any, ClassVar

from rich.text import Text
from textual import constants, work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.reactive import var
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from mobvibe_app.studio.changes import DemoSummary, Noticed, TroubleChanged
from mobvibe_app.studio.commands import CancelJob, ReplayDemo, SeeAs, WakePreview
from mobvibe_app.studio.state import BuildState, apply
from mobvibe_app.ui.clipboard import copy_with_tool
from mobvibe_app.ui.commands import COMMANDS, bindings, command, key, shown, shown_keys
from mobvibe_app.ui.messages import ChangeArrived, CommandGiven, DemoChosen
from mobvibe_app.ui.screens.build import BuildScreen
from mobvibe_app.ui.screens.confirm import ConfirmScreen
from mobvibe_app.ui.screens.demos import DemosScreen
from mobvibe_app.ui.screens.help import HelpScreen
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.screens.see_as import SeeAsScreen
from mobvibe_app.ui.studio_port import StudioPort
from mobvibe_app.ui.theme import DARK, own_themes
from mobvibe_app.ui.widgets.too_small import LEAST_COLUMNS, LEAST_ROWS
from mobvibe_worker.errors import InputError, MobvibeError
from mobvibe_worker.sanitize import clean_text

TEXTUALS_DEFAULT = "textual-dark"
LEAVING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class MobvibeApp(App[None]):
    """One dashboard over one studio. `run` closes the studio when the terminal has been given back.

    `build_feed` runs in a thread after the first paint, because what it imports is slower than drawing the screen.

    A screen follows the state by `self.watch(self.app, "state", self.show)`.
    """

    TITLE = "mobvibe"
    # The first screen's own stylesheet would not be read.
    CSS_PATH: ClassVar[list[str | PurePath]] = ["app.tcss", "screens/build.tcss"]
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = key("palette").keys
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
        *bindings(each for each in COMMANDS if each.is_priority)
    ]

    state: var[BuildState] = var(BuildState())
    """Everything that the screens show. Only changes alter it."""

    def __init__(
        self,
        build_feed: Callable[[], StudioPort],
        *,
        version: str,
        model_label: str,
        demos: Sequence[DemoSummary] = (),
    ) -> None:
        # Without colour an ansi theme loses even the code's black and white, so it is not native then.
        super().__init__(ansi_color=False if "NO_COLOR" in os.environ else None)
        self._build_feed = build_feed
        self._feed: StudioPort | None = None
        self._version = version
        self._demos = demos
        for theme in own_themes():
            self.register_theme(theme)
        chosen = self.get_theme(constants.DEFAULT_THEME)
        is_drained = self.no_color and chosen is not None and chosen.ansi
        if constants.DEFAULT_THEME == TEXTUALS_DEFAULT or chosen is None or is_drained:
            self.theme = DARK
        self._build = BuildScreen(model_label=model_label, demos=demos)

    def get_default_screen(self) -> Screen[None]:
        """The main screen is the first one, so that nothing is painted twice."""
        return self._build

    async def run_async(self, **options: Any) -> None:
        """Run until quit, a signal or a failure; then close the studio, in each case."""
        try:
            with self._leaving_on_signals():
                await super().run_async(**options)
        finally:
            if self._feed is not None:
                await self._feed.close()

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

    @work(exit_on_error=False, group="feed")
    async def on_screen_ready(self) -> None:
        try:
            self._feed = await asyncio.to_thread(self._build_feed)
            async for change in self._feed.changes():
                self.post_message(ChangeArrived(change))
        except MobvibeError as error:
            self._trouble(error.message, error.remedy)

    def on_change_arrived(self, message: ChangeArrived) -> None:
        """Apply a change to the state, which nothing else changes.

        While the app shuts down, its widgets are gone already.
        """
        if not self.is_running:
            return
        change = message.change
        self.state = apply(self.state, change)
        self._build.take(change)
        if isinstance(change, Noticed):
            self.notify(change.message, markup=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Report unexpected errors as well, and keep the screen open."""
        if event.state == WorkerState.ERROR:
            what = f"{type(event.worker.error).__name__}: {event.worker.error}"
            remedy = f"Quit with {shown('quit')} and start again; everything stored stays."
            self._trouble(f"Something broke ({what}).", remedy)

    def _trouble(self, message: str | None, remedy: str = "") -> None:
        self.post_message(ChangeArrived(TroubleChanged(message, remedy)))

    @work(exit_on_error=False, group="commands")
    async def on_command_given(self, message: CommandGiven) -> None:
        """Have the studio do it; its MobvibeError becomes the banner."""
        try:
            if self._feed is None:
                raise InputError("mobvibe-tui is still starting.", "Try again in a second.")
            await self._feed.do(message.command)
        except MobvibeError as error:
            self._trouble(error.message, error.remedy)
        else:
            self._trouble(None)
            if message.on_done is not None:
                message.on_done()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The commands of the palette: ours that are available now, then Textual's."""
        now, titles = self._build.situation, set[str]()
        for each in COMMANDS:
            if each.title not in titles and each.when(now):
                titles.add(each.title)
                keys = f" ({', '.join(shown_keys(each))})" if each.keys else ""
                words = f"{each.help[0].upper()}{each.help[1:]}{keys}"
                # The palette expects a plain function.
                run = partial(self.call_later, self.action_command, each.id)
                yield SystemCommand(each.title, words, run)
        for other in super().get_system_commands(screen):
            if other.title not in titles:
                yield other

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer a command only while it is available."""
        if action == "command":
            return command(str(parameters[0])).when(self._build.situation)
        return super().check_action(action, parameters)

    async def action_command(self, command_id: str) -> None:
        does = command(command_id).does
        if isinstance(does, str):
            await self.run_action(does, self._build)
        else:
            self.post_message(CommandGiven(does))

    def action_help(self) -> None:
        self.push_screen(HelpScreen(self._version))

    async def action_quit(self) -> None:
        """Leave; ask first if a job would be stopped."""
        if not self.state.is_anything_running:
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

    def action_demos(self) -> None:
        def chosen(name: str | None) -> None:
            if name is not None:
                self.post_message(CommandGiven(ReplayDemo(name)))

        self.push_screen(DemosScreen(self._demos), chosen)

    def on_demo_chosen(self, message: DemoChosen) -> None:
        self.post_message(CommandGiven(ReplayDemo(message.name)))

    def action_cancel(self) -> None:
        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self.post_message(CommandGiven(CancelJob()))

        consequence = "What it wrote so far is set aside; the phone keeps the last working version."
        self.push_screen(ConfirmScreen("Cancel this job?", consequence, "cancel it"), answered)

    def action_see_as(self) -> None:
        def answered(email: str | None) -> None:
            if email:
                self.post_message(CommandGiven(SeeAs(email)))

        self.push_screen(SeeAsScreen(), answered)

    def action_large_qr(self) -> None:
        self.action_wake_preview()
        if self.state.preview is not None:
            self.push_screen(QrScreen(self.state.preview))

    def action_wake_preview(self) -> None:
        known = self.state.preview_known
        if known is not None and known.facts.ended is not None:
            self.post_message(CommandGiven(WakePreview()))

    def action_copy_url(self) -> None:
        """Copy what is selected, else the preview's address."""
        preview = self.state.preview
        text = self.screen.get_selected_text() or (preview.url if preview else "")
        if text:
            self._copy(text)

    @work(exit_on_error=False, group="clipboard")
    async def _copy(self, text: str) -> None:
        self.copy_to_clipboard(text)
        if await copy_with_tool(text):
            words = "Copied."
        else:
            words = "Sent to the terminal's clipboard (OSC 52); not every terminal takes it."
        self.notify(words, markup=False, timeout=4)

    def action_open_web(self) -> None:
        """Open the web version, but never a browser that would take this terminal."""
        preview = self.state.preview
        if preview is None:
            return
        try:
            browser = webbrowser.get()
        except webbrowser.Error:
            browser = None
        if browser is None or type(browser) is webbrowser.GenericBrowser:
            url = clean_text(preview.metro_url)
            words = f"No graphical browser here. Open {url} on another machine."
            self.notify(words, markup=False, timeout=8)
        else:
            self.open_url(preview.metro_url)
