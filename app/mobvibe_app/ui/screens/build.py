"""The main screen: the only owner of the BuildState; changes come in as messages, panels are told what to show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker, WorkerState

from mobvibe_app.studio.changes import (
    Change,
    DemoSummary,
    EventsArrived,
    Noticed,
    PreviewChanged,
    PreviewWatched,
    SessionSelected,
    TroubleChanged,
    ViewChanged,
)
from mobvibe_app.studio.commands import Command, ReplayDemo, SelectSession, SubmitPrompt
from mobvibe_app.studio.state import BuildState, apply
from mobvibe_app.ui.bindings import BUILD_BINDINGS
from mobvibe_app.ui.messages import (
    ChangeArrived,
    DemoChosen,
    PanelChosen,
    PromptSubmitted,
    SearchChanged,
    SessionChosen,
)
from mobvibe_app.ui.screens.build_actions import BuildActions
from mobvibe_app.ui.screens.build_panels import PANELS_SECONDS, BuildPanels
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.studio_port import StudioPort
from mobvibe_app.ui.widgets.files_panel import FilesPanel
from mobvibe_app.ui.widgets.preview_panel import PreviewPanel
from mobvibe_app.ui.widgets.prompt_box import PromptBox
from mobvibe_app.ui.widgets.queue_panel import QueuePanel
from mobvibe_app.ui.widgets.search_bar import SearchBar
from mobvibe_app.ui.widgets.services_panel import ServicesPanel
from mobvibe_app.ui.widgets.sessions_panel import SessionsPanel
from mobvibe_app.ui.widgets.tab_line import TabLine
from mobvibe_app.ui.widgets.too_small import TooSmall
from mobvibe_app.ui.widgets.top_bar import TopBar
from mobvibe_app.ui.widgets.trouble_banner import TroubleBanner
from mobvibe_app.ui.widgets.welcome import Welcome
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.events import Message

FEED = "feed"


class BuildScreen(BuildActions, BuildPanels, Screen[None]):
    """Sessions, queue and services at the left, the stream and the prompt in the middle, the phone at the right."""

    BINDINGS: ClassVar[list[BindingType]] = list(BUILD_BINDINGS)
    AUTO_FOCUS = ""

    def __init__(
        self, studio: StudioPort, *, model_label: str, demos: Sequence[DemoSummary]
    ) -> None:
        super().__init__()
        self.studio = studio
        self.demos = demos
        self.state = BuildState()
        self._model_label = model_label
        self._is_due = False

    def compose(self) -> ComposeResult:
        """The skeleton; the panels follow behind the first paint."""
        yield TopBar(self._model_label)
        yield TroubleBanner(id="trouble")
        yield TabLine()
        with Horizontal(id="body"), Vertical(id="main"):
            yield StreamView(id="stream")
            yield SearchBar()
            yield PromptBox()
        yield TooSmall()

    def on_mount(self) -> None:
        """Paint, then mount the rest and start the studio."""
        self.query_one(SearchBar).display = False
        self.call_after_refresh(self._mount_panels)

    async def _mount_panels(self) -> None:
        body = self.query_one("#body")
        rail = Vertical(
            SessionsPanel(id="sessions"),
            QueuePanel("2 Queue", id="queue"),
            ServicesPanel("3 Services", id="services"),
            id="rail",
        )
        side = Vertical(PreviewPanel(id="preview"), FilesPanel("5 Files", id="files"), id="side")
        await body.mount(rail, before=0)
        await body.mount(side)
        await self.query_one("#main").mount(Welcome(id="welcome"), before=0)
        await self.mount(Footer(compact=True))
        self.fit_side()
        self.show_all()
        self.set_interval(PANELS_SECONDS, self._tick)
        self._follow()

    @work(exit_on_error=False, group=FEED)
    async def _follow(self) -> None:
        try:
            async for change in self.studio.changes():
                self.post_message(ChangeArrived(change))
        except MobvibeError as error:
            self.post_message(ChangeArrived(TroubleChanged(error.message, error.remedy)))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What no MobvibeError explains is said too; the screen stays."""
        if event.state == WorkerState.ERROR:
            told = f"{type(event.worker.error).__name__}: {event.worker.error}"
            remedy = "Quit with q and start again; everything stored stays."
            self._take(TroubleChanged(f"Something broke ({told}).", remedy))

    def on_change_arrived(self, message: ChangeArrived) -> None:
        """The one way in which the state moves."""
        self._take(message.change)

    def _take(self, change: Change) -> None:
        before = self.state
        self.state = apply(self.state, change)
        match change:
            case EventsArrived(events=events):
                new = [each for each in events if each.seq > before.last_seq]
                self.query_one(StreamView).feed(new)
                self._remember_prompts(change)
            case SessionSelected() | ViewChanged():
                self.query_one(StreamView).clear()
                self.show_preview(self.state.preview)
            case PreviewChanged():
                self.show_preview(self.state.preview)
            case PreviewWatched():
                if isinstance(self.app.screen, QrScreen):
                    self.app.screen.show_known(self.state.preview_known)
            case TroubleChanged():
                self.query_one(TroubleBanner).show(self.state.trouble)
            case Noticed(message=text):
                self.notify(text, markup=False)
        self._plan()

    def _remember_prompts(self, change: EventsArrived) -> None:
        prompt_box = self.query_one(PromptBox)
        for event in change.events:
            if isinstance(event.payload, Message) and event.payload.author == "person":
                prompt_box.remember(event.payload.text)

    def _plan(self) -> None:
        """Show the panels now, or within the second where they were just shown."""
        wait = self.shown_at + PANELS_SECONDS - time.monotonic()
        if wait <= 0:
            self.show_all()
        elif not self._is_due:
            self._is_due = True
            self.set_timer(wait, self._show_due)

    def _show_due(self) -> None:
        self._is_due = False
        self.show_all()

    def _tick(self) -> None:
        self.show_stream_status()
        if time.monotonic() - self.shown_at >= PANELS_SECONDS and self.state.sessions:
            self.query_one(SessionsPanel).show(self.state)

    @work(exit_on_error=False, group="commands")
    async def run_command(self, command: Command, done: Callable[[], None] | None = None) -> None:
        """Have the studio do it, then call `done`; a MobvibeError becomes the banner."""
        try:
            await self.studio.do(command)
        except MobvibeError as error:
            self.post_message(ChangeArrived(TroubleChanged(error.message, error.remedy)))
        else:
            self.post_message(ChangeArrived(TroubleChanged(None)))
            if done is not None:
                done()

    def on_prompt_submitted(self, message: PromptSubmitted) -> None:
        """Enqueue it; the box is emptied once the studio has taken it."""
        prompt_box, text = self.query_one(PromptBox), message.text

        def taken() -> None:
            prompt_box.taken(text)
            self.is_new_app = False
            self.show_keys()
            if self.focused is prompt_box and not prompt_box.text:
                self.set_focus(self.query_one(StreamView))

        if prompt_box.is_for_new_app:
            command = SubmitPrompt(text, platform=prompt_box.platform)
        else:
            command = SubmitPrompt(text, self.state.selected)
        self.run_command(command, taken)

    def on_platform_chosen(self) -> None:
        """The prompt box says which."""
        self.show_keys()

    def on_prompt_resized(self) -> None:
        """The prompt box grew or shrank."""
        self.fit_side()

    def on_resize(self) -> None:
        """The terminal has another size."""
        self.call_after_refresh(self.fit_side)
        self.call_after_refresh(self.show_all)

    def on_demo_chosen(self, message: DemoChosen) -> None:
        """Replay a recording."""
        self.run_command(ReplayDemo(message.name))

    def on_session_chosen(self, message: SessionChosen) -> None:
        """Show another session."""
        if message.session_id != self.state.selected:
            self.run_command(SelectSession(message.session_id))
        self.open_panel("stream")

    def on_search_changed(self, message: SearchChanged) -> None:
        """Mark the matches."""
        stream = self.query_one(StreamView)
        stream.search(message.text)
        if message.is_final:
            self.set_focus(stream)
        self.show_stream_status()
        self.show_keys()

    def on_panel_chosen(self, message: PanelChosen) -> None:
        """A tab was clicked."""
        self.open_panel(message.panel)
