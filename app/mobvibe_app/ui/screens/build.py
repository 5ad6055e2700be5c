"""The main screen: the stream and the prompt, and the panels around them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Input, TextArea

from mobvibe_app.studio.changes import (
    Change,
    DemoSummary,
    EventsArrived,
    PreviewChanged,
    SessionSelected,
    TroubleChanged,
    ViewChanged,
)
from mobvibe_app.studio.commands import SelectSession, SubmitPrompt
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.commands import COMMANDS, Situation, bindings, shown
from mobvibe_app.ui.messages import (
    ChangeArrived,
    CommandGiven,
    PanelChosen,
    PromptSubmitted,
    ScreenReady,
    SearchChanged,
    SessionChosen,
)
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.widgets.demo_list import DemoList
from mobvibe_app.ui.widgets.files_panel import FilesPanel
from mobvibe_app.ui.widgets.preview_panel import PreviewPanel
from mobvibe_app.ui.widgets.prompt_box import PromptBox
from mobvibe_app.ui.widgets.queue_panel import QueuePanel
from mobvibe_app.ui.widgets.search_bar import SearchBar
from mobvibe_app.ui.widgets.services_panel import ServicesPanel
from mobvibe_app.ui.widgets.sessions_panel import SessionsPanel
from mobvibe_app.ui.widgets.tab_line import TABS, TabLine
from mobvibe_app.ui.widgets.too_small import TooSmall
from mobvibe_app.ui.widgets.top_bar import TopBar
from mobvibe_app.ui.widgets.trouble_banner import TroubleBanner
from mobvibe_app.ui.widgets.welcome import Welcome
from mobvibe_app.ui.words.values import one_line
from mobvibe_worker.events import Message

WIDE_PANELS = ("sessions", "queue", "services", "preview", "files")
PANELS_SECONDS = 1.0
SEEN_SECONDS = 2.0


class BuildScreen(Screen[None]):
    """Sessions, queue and services at the left, the stream and the prompt in the middle, the phone at the right.

    The app owns the state: `show` is given each one, and the panels follow once a second.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(each for each in COMMANDS if not each.is_priority)
    ]
    AUTO_FOCUS = ""

    def __init__(self, *, model_label: str, demos: Sequence[DemoSummary]) -> None:
        super().__init__()
        self._model_label = model_label
        self._demos = demos
        self._state = BuildState()
        self._shown_at = 0.0
        self.slid_in_at = 0.0
        self._is_due = False
        self._has_panels = False
        self._offered: list[bool] = []
        self._panel = "stream"
        self._is_new_app = False

    def compose(self) -> ComposeResult:
        """The skeleton; the panels follow after the first paint."""
        yield TopBar(self._model_label)
        yield TroubleBanner(id="trouble")
        yield TabLine()
        with Horizontal(id="body"), Vertical(id="main"):
            yield StreamView(id="stream")
            yield SearchBar()
            yield PromptBox()
        yield TooSmall()

    def on_mount(self) -> None:
        self.query_one(SearchBar).display = False
        self.call_after_refresh(self._mount_panels)

    async def _mount_panels(self) -> None:
        body = self.query_one("#body")
        rail = Vertical(
            SessionsPanel(id="sessions"),
            QueuePanel(f"{shown('panel.2')} Queue", id="queue"),
            ServicesPanel(f"{shown('panel.3')} Services", id="services"),
            id="rail",
        )
        files = FilesPanel(f"{shown('panel.5')} Files", id="files")
        await body.mount(rail, before=0)
        await body.mount(Vertical(PreviewPanel(id="preview"), files, id="side"))
        await self.query_one("#main").mount(Welcome(id="welcome"), before=0)
        await self.mount(Footer(compact=True))
        self._has_panels = True
        self._fit_side()
        self.set_interval(PANELS_SECONDS, self._tick)
        self.watch(self.app, "state", self.show)
        self.post_message(ScreenReady())

    def show(self, state: BuildState) -> None:
        """Show this state in the panels: now, or within the second if they were just shown."""
        self._state = state
        wait = self._shown_at + PANELS_SECONDS - time.monotonic()
        if wait <= 0:
            self._show_panels()
        elif not self._is_due:
            self._is_due = True
            self.set_timer(wait, self._show_panels)

    def take(self, change: Change) -> None:
        """Show at once what cannot wait for the panels: the stream's rows, the phone's code, what went wrong."""
        stream = self.query_one(StreamView)
        match change:
            case EventsArrived(events=events):
                stream.feed(events)
                for event in events:
                    if isinstance(event.payload, Message) and event.payload.author == "person":
                        self.query_one(PromptBox).remember(event.payload.text)
            case SessionSelected() | ViewChanged():
                stream.clear()
                self._slide_preview()
            case PreviewChanged():
                self._slide_preview()
            case TroubleChanged():
                self.query_one(TroubleBanner).show(self._state.trouble)

    def _show_panels(self) -> None:
        self._is_due = False
        if not self._has_panels:
            return
        self._shown_at = time.monotonic()
        state = self._state
        self.query_one(TopBar).show(state)
        self.query_one(SessionsPanel).show(state)
        self.query_one(QueuePanel).show(state)
        self.query_one(ServicesPanel).show(state)
        self.query_one(PreviewPanel).show(state)
        self.query_one(FilesPanel).show(state)
        self._show_welcome()
        self._show_stream_status()
        self._show_keys()

    def _tick(self) -> None:
        self._show_stream_status()
        if time.monotonic() - self._shown_at >= PANELS_SECONDS and self._state.sessions:
            self.query_one(SessionsPanel).show(self._state)

    def _show_welcome(self) -> None:
        """Before there is a session, show in the stream's place how to begin."""
        stream, is_waiting = self.query_one(StreamView), self._state.selected is None
        if not (is_waiting or self.has_class("-waiting")):
            return
        welcome = self.query_one(Welcome)
        had_focus = self.focused in (None, stream) or welcome.has_focus_within
        welcome.show(self._state, self._demos)
        self.set_class(is_waiting, "-waiting")
        demos = welcome.query_one(DemoList)
        target = stream if not is_waiting else demos if demos.display else None
        if had_focus and self.focused is not target:
            self.set_focus(None)
            self.call_after_refresh(self._focus_if_none_is, target)

    def _focus_if_none_is(self, target: Widget | None) -> None:
        """A widget takes the focus only once its display has been refreshed."""
        if self.focused is None:
            self.set_focus(target)

    def _slide_preview(self) -> None:
        """Show the code beside the stream as soon as there is one."""
        has_preview = self._state.preview is not None
        if has_preview and not self.has_class("-preview"):
            self.slid_in_at = time.monotonic()
        self.set_class(has_preview, "-preview")
        self._show_panels()

    def _show_stream_status(self) -> None:
        """The stream's title, and whether it follows."""
        stream = self.query_one(StreamView)
        rate = round(stream.take_arrived() / PANELS_SECONDS)
        session = self._state.selected_session
        title = one_line(session.title) if session else "Stream"
        attempt = f" · attempt {session.attempt}" if session and session.attempt > 1 else ""
        stream.border_title = Content(f"{title}{attempt}")
        live = f"● live {rate} ev/s" if rate else "● live"
        paused = f"▼ {stream.new_rows} new" if stream.new_rows else "▼ paused"
        paused = f"{paused} · {shown('follow')}"
        place = live if stream.is_following else paused
        match = f"match {stream.match_place} · " if stream.match_place else ""
        modes = f" · {'wrap' if stream.is_wrapped else 'no wrap'}"
        hidden = "" if stream.has_thoughts else " · thoughts hidden"
        stream.border_subtitle = Content(f"{match}{place}{hidden}{modes}")
        badge = f"▣ preview ready: {shown('qr')}" if self._state.preview else ""
        notes = (match.rstrip(" ·"), "" if stream.is_following else paused, badge)
        self.query_one(TabLine).show(self._panel, *notes)

    def _show_keys(self) -> None:
        """What the prompt is for, and which keys act now."""
        prompt_box = self.query_one(PromptBox)
        prompt_box.aim(at_new_app=self._is_new_app or self._state.selected is None)
        title = "New web app" if prompt_box.platform == "web" else "New app"
        prompt_box.border_title = Content(title if prompt_box.is_for_new_app else "")
        now = self.situation
        offered = [each.when(now) for each in COMMANDS]
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _fit_side(self) -> None:
        """End the phone's column where the prompt begins, if it lies over the stream."""
        rows = self.query_one("#body").size.height - self.query_one(PromptBox).outer_size.height
        for side in self.query("#side"):
            side.styles.height = rows if self.has_class("-mid") and rows > 0 else "1fr"

    def on_prompt_submitted(self, message: PromptSubmitted) -> None:
        """Enqueue it; the box is emptied once the studio has accepted it."""
        prompt_box, text = self.query_one(PromptBox), message.text

        def accepted() -> None:
            prompt_box.accept(text)
            self._is_new_app = False
            self._show_keys()
            if self.focused is prompt_box and not prompt_box.text:
                self.set_focus(self.query_one(StreamView))

        if prompt_box.is_for_new_app:
            command = SubmitPrompt(text, platform=prompt_box.platform)
        else:
            command = SubmitPrompt(text, self._state.selected)
        self.post_message(CommandGiven(command, accepted))

    def on_platform_chosen(self) -> None:
        self._show_keys()

    def on_prompt_resized(self) -> None:
        self._fit_side()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit_side)
        self.call_after_refresh(self._show_panels)

    def on_session_chosen(self, message: SessionChosen) -> None:
        if message.session_id != self._state.selected:
            self.post_message(CommandGiven(SelectSession(message.session_id)))
        self._open_panel("stream")

    def on_search_changed(self, message: SearchChanged) -> None:
        stream = self.query_one(StreamView)
        stream.search(message.text)
        if message.is_final:
            self.set_focus(stream)
        self._show_stream_status()
        self._show_keys()

    def on_panel_chosen(self, message: PanelChosen) -> None:
        self._open_panel(message.panel)

    @property
    def situation(self) -> Situation:
        is_searching = any(stream.is_searching for stream in self.query(StreamView))
        return Situation(self._state, is_searching, isinstance(self.focused, TextArea | Input))

    def action_prompt(self) -> None:
        self.set_focus(self.query_one(PromptBox))

    def action_new_app(self) -> None:
        self._is_new_app = True
        self._show_keys()
        self.action_prompt()

    def action_back(self) -> None:
        """One step out: zoom, search, the new app that was begun, trouble, another panel."""
        stream = self.query_one(StreamView)
        if self.maximized is not None:
            self.minimize()
        elif stream.is_searching:
            stream.end_search()
        elif self._is_new_app:
            self._is_new_app = False
        elif self._state.trouble is not None:
            self.post_message(ChangeArrived(TroubleChanged(None)))
        else:
            self._open_panel("stream")
        self._show_stream_status()
        self._show_keys()

    async def action_toggle_qr(self) -> None:
        """Show or hide the code beside the stream at middle width; elsewhere it is a dialog."""
        if not self.has_class("-mid"):
            await self.run_action("app.large_qr")
            return
        await self.run_action("app.wake_preview")
        # A press meant to show the code must not hide the one that has just slid in.
        if not self.has_class("-preview") or time.monotonic() - self.slid_in_at > SEEN_SECONDS:
            self.toggle_class("-preview")

    def action_search(self) -> None:
        self._open_panel("stream")
        self.query_one(SearchBar).open()

    def action_next_match(self, step: int) -> None:
        self.query_one(StreamView).next_match(step)
        self._show_stream_status()

    def action_next_error(self, step: int) -> None:
        stream = self.query_one(StreamView)
        if stream.has_errors:
            self._open_panel("stream")
            stream.next_error(step)
        else:
            self.notify("No errors in this session.", markup=False)
        self._show_stream_status()

    def action_follow(self) -> None:
        self.query_one(StreamView).follow()
        self._show_stream_status()

    def action_toggle_stream(self, name: str) -> None:
        self.query_one(StreamView).toggle(name)
        self._show_stream_status()

    def action_zoom(self) -> None:
        """Let the focused panel fill the screen, or give it back."""
        if self.maximized is not None:
            self.minimize()
        else:
            self.maximize(self.focused or self.query_one(StreamView))

    def action_panel(self, number: int) -> None:
        """Go to a panel by its number; in the narrow layout it is a tab's."""
        names = [name for name, _ in TABS] if self.has_class("-narrow") else WIDE_PANELS
        if number <= len(names):
            self._open_panel(names[number - 1])

    def _open_panel(self, name: str) -> None:
        """Give a panel the keys; in the narrow layout also the place."""
        if not self._has_panels:
            return
        for each, _ in TABS:
            self.set_class(each == name, f"-show-{each}")
        self._panel = name
        target = self.query_one(f"#{name}", Widget)
        if name == "stream" and not target.display:
            target = self.query_one("#welcome-demos", Widget)
        if target.focusable:
            self.set_focus(target)
        self.call_after_refresh(self._show_panels)
