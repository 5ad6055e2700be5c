"""How the main screen's panels, keys and classes follow the state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.studio.changes import DemoSummary
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.widgets.demo_list import DemoList
from mobvibe_app.ui.widgets.files_panel import FilesPanel
from mobvibe_app.ui.widgets.panel import Panel
from mobvibe_app.ui.widgets.preview_panel import PreviewPanel
from mobvibe_app.ui.widgets.prompt_box import PromptBox
from mobvibe_app.ui.widgets.queue_panel import QueuePanel
from mobvibe_app.ui.widgets.services_panel import ServicesPanel
from mobvibe_app.ui.widgets.sessions_panel import SessionsPanel
from mobvibe_app.ui.widgets.tab_line import TabLine
from mobvibe_app.ui.widgets.top_bar import TopBar
from mobvibe_app.ui.widgets.welcome import Welcome
from mobvibe_app.ui.words.values import one_line

if TYPE_CHECKING:
    from textual.screen import Screen

    _Base = Screen[None]
else:
    _Base = object

PANELS_SECONDS = 1.0


class BuildPanels(_Base):
    """The part of BuildScreen that tells widgets what to show. A panel may not be mounted yet: each is asked for."""

    demos: Sequence[DemoSummary]
    state: BuildState
    panel: str = "stream"
    is_new_app: bool = False
    shown_at: float = 0.0
    slid_in_at: float = 0.0
    bindings_key: tuple[object, ...] = ()

    def show_all(self) -> None:
        """Show the state everywhere but in the stream's rows."""
        self.shown_at = time.monotonic()
        state = self.state
        self.query_one(TopBar).show(state)
        for panel in self.query(Panel):
            if isinstance(panel, QueuePanel | ServicesPanel | FilesPanel):
                panel.show(state)
        for sessions in self.query(SessionsPanel):
            sessions.show(state)
        for preview in self.query(PreviewPanel):
            preview.show_known(state.preview_known if state.preview else None)
        self.show_welcome()
        self.show_stream_status()
        self.show_keys()

    def show_welcome(self) -> None:
        """Before there is a session, what to do stands in the stream's place."""
        stream, is_waiting = self.query_one(StreamView), self.state.selected is None
        if not (is_waiting or self.has_class("-waiting")):
            return
        for welcome in self.query(Welcome):
            had_focus = self.focused in (None, stream) or welcome.has_focus_within
            welcome.show(self.state, self.demos)
            self.set_class(is_waiting, "-waiting")
            demos = welcome.query_one(DemoList)
            target = stream if not is_waiting else demos if demos.display else None
            if had_focus and self.focused is not target:
                self.set_focus(None)
                self.call_after_refresh(self._focus_where_none_is, target)

    def _focus_where_none_is(self, target: Widget | None) -> None:
        """A widget takes the keys only once its display has been refreshed."""
        if self.focused is None:
            self.set_focus(target)

    def show_preview(self, preview: PreviewAddress | None) -> None:
        """The code beside the stream, and in the dialog where it is open."""
        for panel in self.query(PreviewPanel):
            panel.show(preview)
        if preview is not None and not self.has_class("-preview"):
            self.slid_in_at = time.monotonic()
        self.set_class(preview is not None, "-preview")
        if isinstance(self.app.screen, QrScreen):
            self.app.screen.show(preview)
        self.show_all()

    def show_stream_status(self) -> None:
        """The stream's title, and whether it follows."""
        stream = self.query_one(StreamView)
        rate = round(stream.take_arrived() / PANELS_SECONDS)
        session = self.state.selected_session
        title = one_line(session.title) if session else "Stream"
        attempt = f" · attempt {session.attempt}" if session and session.attempt > 1 else ""
        stream.border_title = Content(f"{title}{attempt}")
        live = f"● live {rate} ev/s" if rate else "● live"
        news = f"▼ {stream.new_rows} new · G" if stream.new_rows else "▼ paused · G"
        place = live if stream.is_following else news
        match = f"match {stream.match_place} · " if stream.match_place else ""
        modes = f" · {'wrap' if stream.is_wrapped else 'no wrap'}"
        hidden = "" if stream.has_thoughts else " · thoughts hidden"
        stream.border_subtitle = Content(f"{match}{place}{hidden}{modes}")
        badge = "▣ preview ready: p" if self.state.preview else ""
        news = "" if stream.is_following else news
        self.query_one(TabLine).show(self.panel, match.rstrip(" ·"), news, badge)

    def show_keys(self) -> None:
        """What the prompt is for, and which keys act now."""
        key = (
            self.state.preview is None,
            self.has_class("-preview"),
            self.state.is_job_unfinished,
            self.query_one(StreamView).is_searching,
        )
        prompt_box = self.query_one(PromptBox)
        prompt_box.aim(at_new_app=self.is_new_app or self.state.selected is None)
        title = "New web app" if prompt_box.platform == "web" else "New app"
        prompt_box.border_title = Content(title if prompt_box.is_for_new_app else "")
        if key != self.bindings_key:
            self.bindings_key = key
            self.refresh_bindings()

    def fit_side(self) -> None:
        """Where the phone's column lies over the stream, it ends where the prompt begins."""
        rows = self.query_one("#body").size.height - self.query_one(PromptBox).outer_size.height
        for side in self.query("#side"):
            side.styles.height = rows if self.has_class("-mid") and rows > 0 else "1fr"
