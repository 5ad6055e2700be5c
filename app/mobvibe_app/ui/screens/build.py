"""The main screen: the only owner of the BuildState; changes come in as messages, panels are told what to show."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker, WorkerState

from mobvibe_app.build_state import BuildState, apply
from mobvibe_app.changes import (
    Change,
    EventsArrived,
    PreviewAddress,
    PreviewChanged,
    SessionSelected,
    TroubleChanged,
)
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
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.studio_port import StudioPort
from mobvibe_app.ui.widgets.demo_list import DemoList
from mobvibe_app.ui.widgets.files_panel import FilesPanel
from mobvibe_app.ui.widgets.panel import Panel
from mobvibe_app.ui.widgets.preview_panel import PreviewPanel
from mobvibe_app.ui.widgets.prompt_box import PromptBox
from mobvibe_app.ui.widgets.queue_panel import QueuePanel
from mobvibe_app.ui.widgets.search_bar import SearchBar
from mobvibe_app.ui.widgets.services_panel import ServicesPanel
from mobvibe_app.ui.widgets.sessions_panel import SessionsPanel
from mobvibe_app.ui.widgets.stream_view import StreamView
from mobvibe_app.ui.widgets.tab_line import TabLine
from mobvibe_app.ui.widgets.too_small import TooSmall
from mobvibe_app.ui.widgets.top_bar import TopBar
from mobvibe_app.ui.widgets.trouble_banner import TroubleBanner
from mobvibe_app.ui.widgets.welcome import Welcome
from mobvibe_app.ui.wording import one_line
from mobvibe_worker.errors import InputError, MobvibeError
from mobvibe_worker.events import parse_payload
from mobvibe_worker.jobs import PROMPT_LIMIT

PANELS_SECONDS = 1.0
FEED = "feed"


class BuildScreen(BuildActions, Screen[None]):
    """Sessions, queue and services at the left, the stream and the prompt in the middle, the phone at the right."""

    BINDINGS: ClassVar[list[BindingType]] = list(BUILD_BINDINGS)
    AUTO_FOCUS = ""

    def __init__(self, studio: StudioPort, *, model_label: str) -> None:
        super().__init__()
        self.studio = studio
        self.state = BuildState()
        self._model_label = model_label
        self._shown_at = 0.0
        self._is_due = False
        self._bindings_key: tuple[object, ...] = ()

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
        self._fit_side()
        self._show_all()
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
            case SessionSelected():
                self.query_one(StreamView).clear()
                self._show_all()
            case PreviewChanged(preview=preview):
                self._show_preview(preview)
            case TroubleChanged():
                self.query_one(TroubleBanner).show(self.state.trouble)
        self._plan()

    def _remember_prompts(self, change: EventsArrived) -> None:
        prompt_box = self.query_one(PromptBox)
        for event in change.events:
            if event.type == "message" and event.data.get("author") == "person":
                payload = parse_payload(event)
                text = getattr(payload, "text", None)
                if isinstance(text, str):
                    prompt_box.remember(text)

    def _plan(self) -> None:
        """Show the panels now, or within the second where they were just shown."""
        wait = self._shown_at + PANELS_SECONDS - time.monotonic()
        if wait <= 0:
            self._show_all()
        elif not self._is_due:
            self._is_due = True
            self.set_timer(wait, self._show_all)

    def _tick(self) -> None:
        self._show_stream_status()
        if time.monotonic() - self._shown_at >= PANELS_SECONDS and self.state.sessions:
            self.query_one(SessionsPanel).show(self.state)

    def _show_all(self) -> None:
        self._is_due, self._shown_at = False, time.monotonic()
        state = self.state
        self.query_one(TopBar).show(state)
        for panel in self.query(Panel):
            if isinstance(panel, QueuePanel | ServicesPanel | FilesPanel):
                panel.show(state)
        for sessions in self.query(SessionsPanel):
            sessions.show(state)
        self._show_welcome()
        self._show_stream_status()
        self._show_keys()

    def _show_welcome(self) -> None:
        stream, is_waiting = self.query_one(StreamView), self.state.selected is None
        for welcome in self.query(Welcome):
            had_focus = self.focused is None or welcome.has_focus_within or self.focused is stream
            self.set_focus(None) if had_focus else None
            welcome.show(self.state, self.studio.demos())
            welcome.display, stream.display = is_waiting, not is_waiting
            demos = welcome.query_one(DemoList)
            if had_focus and not is_waiting:
                self.set_focus(stream)
            elif had_focus and demos.display:
                self.set_focus(demos)

    def _show_preview(self, preview: PreviewAddress | None) -> None:
        for panel in self.query(PreviewPanel):
            panel.show(preview)
        self.set_class(preview is not None, "-preview")
        if isinstance(self.app.screen, QrScreen):
            self.app.screen.show(preview)
        self._show_all()

    def _show_stream_status(self) -> None:
        stream = self.query_one(StreamView)
        rate = round(stream.take_arrived() / PANELS_SECONDS)
        session = self.state.selected_session
        title = one_line(session.title) if session else "Stream"
        attempt = f" · attempt {session.attempt}" if session and session.attempt > 1 else ""
        stream.border_title = Content(f"{title}{attempt}")
        live = f"● live {rate} ev/s" if rate else "● live"
        place = live if stream.is_following else f"▼ {stream.new_rows} new · G"
        match = f"match {stream.match_place} · " if stream.match_place else ""
        modes = f" · {'wrap' if stream.is_wrapped else 'no wrap'}"
        hidden = "" if stream.has_thoughts else " · thoughts hidden"
        stream.border_subtitle = Content(f"{match}{place}{hidden}{modes}")
        badge = "▣ preview ready: p" if self.state.preview else ""
        news = "" if stream.is_following else f"▼ {stream.new_rows} new · G"
        self.query_one(TabLine).show(self.panel, match.rstrip(" ·"), news, badge)

    def _show_keys(self) -> None:
        key = (
            self.state.preview is None,
            self.has_class("-preview"),
            self.state.is_job_unfinished,
            self.query_one(StreamView).is_searching,
        )
        prompt_box = self.query_one(PromptBox)
        prompt_box.aim(at_new_app=self.is_new_app or self.state.selected is None)
        prompt_box.border_title = Content("New app" if prompt_box.is_for_new_app else "")
        if key != self._bindings_key:
            self._bindings_key = key
            self.refresh_bindings()

    @work(exit_on_error=False, group="commands")
    async def run_command(
        self, command: Coroutine[Any, Any, object], done: Callable[[], None] | None = None
    ) -> None:
        """Await a command of the studio; its MobvibeError becomes the banner."""
        try:
            await command
        except MobvibeError as error:
            self.post_message(ChangeArrived(TroubleChanged(error.message, error.remedy)))
        else:
            self.post_message(ChangeArrived(TroubleChanged(None)))
            if done is not None:
                done()

    def on_prompt_submitted(self, message: PromptSubmitted) -> None:
        """Enqueue it; the box is emptied once the studio has taken it."""
        prompt_box, text = self.query_one(PromptBox), message.text
        try:
            check_prompt(text)
        except InputError as error:
            self._take(TroubleChanged(error.message, error.remedy))
            return

        def taken() -> None:
            prompt_box.taken(text)
            self.is_new_app = False
            self._show_keys()
            if self.focused is prompt_box and not prompt_box.text:
                self.set_focus(self.query_one(StreamView))

        new_project = prompt_box.is_for_new_app
        self.run_command(self.studio.submit(text, new_project=new_project), taken)

    def on_prompt_resized(self) -> None:
        """The prompt box grew or shrank."""
        self._fit_side()

    def on_resize(self) -> None:
        """The terminal has another size."""
        self.call_after_refresh(self._fit_side)

    def _fit_side(self) -> None:
        """Where the phone's column lies over the stream, it ends where the prompt begins."""
        rows = self.query_one("#body").size.height - self.query_one(PromptBox).outer_size.height
        for side in self.query("#side"):
            side.styles.height = rows if self.has_class("-mid") and rows > 0 else "1fr"

    def on_demo_chosen(self, message: DemoChosen) -> None:
        """Replay a recording."""
        self.run_command(self.studio.run_demo(message.name))

    def on_session_chosen(self, message: SessionChosen) -> None:
        """Show another session."""
        if message.session_id != self.state.selected:
            self.run_command(self.studio.select(message.session_id))
        self.open_panel("stream")

    def on_search_changed(self, message: SearchChanged) -> None:
        """Mark the matches."""
        stream = self.query_one(StreamView)
        stream.search(message.text)
        if message.is_final:
            self.set_focus(stream)
        self._show_stream_status()
        self._show_keys()

    def on_panel_chosen(self, message: PanelChosen) -> None:
        """A tab was clicked."""
        self.open_panel(message.panel)


def check_prompt(text: str) -> None:
    """Raises InputError for a prompt that is empty or too long."""
    if not text.strip():
        raise InputError("The prompt is empty.", "Describe the app, or a change to it.")
    if len(text) > PROMPT_LIMIT:
        raise InputError(
            f"The prompt has {len(text):,} characters, the limit is {PROMPT_LIMIT:,}.",
            "Shorten it; what you typed is kept.",
        )
