"""What the main screen's keys do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Input, TextArea

from mobvibe_app.studio.changes import DemoSummary, TroubleChanged
from mobvibe_app.studio.commands import CancelJob, Command, ReplayDemo, SeeAs, WakePreview
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.messages import ChangeArrived
from mobvibe_app.ui.screens.confirm import ConfirmScreen
from mobvibe_app.ui.screens.demos import DemosScreen
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.screens.see_as import SeeAsScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_app.ui.widgets.prompt_box import PromptBox
from mobvibe_app.ui.widgets.search_bar import SearchBar
from mobvibe_app.ui.widgets.tab_line import TABS

if TYPE_CHECKING:
    from textual.screen import Screen

    _Base = Screen[None]
else:
    _Base = object

WIDE_PANELS = ("sessions", "queue", "services", "preview", "files")
ALWAYS = {"panel", "back"}
SEEN_SECONDS = 2.0


class BuildActions(_Base):
    """The actions of BuildScreen, kept apart from how changes are shown."""

    demos: Sequence[DemoSummary]
    state: BuildState
    panel: str = "stream"
    is_new_app: bool = False
    slid_in_at: float

    if TYPE_CHECKING:

        def run_command(
            self, command: Command, done: Callable[[], None] | None = None
        ) -> object: ...

        def show_all(self) -> None: ...

        def show_keys(self) -> None: ...

        def show_stream_status(self) -> None: ...

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what acts now is offered: no letters while one types, no QR before there is one."""
        if action.startswith("screen.") or action in ALWAYS:
            return True
        if isinstance(self.focused, TextArea | Input):
            return False
        stream = self.query_one(StreamView)
        offered = {
            "toggle_qr": self.state.preview is not None,
            "large_qr": self.state.preview is not None,
            "cancel": self.state.is_job_unfinished,
            "next_match": stream.is_searching,
            "new_app": not stream.is_searching,
        }
        return offered.get(action, True)

    def action_prompt(self) -> None:
        """Take keys into the prompt box."""
        self.set_focus(self.query_one(PromptBox))

    def action_new_app(self) -> None:
        """The next prompt starts a new app."""
        self.is_new_app = True
        self.show_keys()
        self.action_prompt()

    def action_back(self) -> None:
        """One step out: zoom, search, the new app that was begun, trouble, another panel."""
        stream = self.query_one(StreamView)
        if self.maximized is not None:
            self.minimize()
        elif stream.is_searching:
            stream.end_search()
        elif self.is_new_app:
            self.is_new_app = False
        elif self.state.trouble is not None:
            self.post_message(ChangeArrived(TroubleChanged(None)))
        else:
            self.open_panel("stream")
        self.show_stream_status()
        self.show_keys()

    def action_demos(self) -> None:
        """Choose a recording."""

        def chosen(name: str | None) -> None:
            if name is not None:
                self.run_command(ReplayDemo(name))

        self.app.push_screen(DemosScreen(self.demos), chosen)

    def action_see_as(self) -> None:
        """Ask for a person's email, then read through their row-level security."""

        def answered(email: str | None) -> None:
            if email:
                self.run_command(SeeAs(email))

        self.app.push_screen(SeeAsScreen(), answered)

    def action_own_view(self) -> None:
        """Back to the local owner's view."""
        self.run_command(SeeAs(None))

    def doing(self, command: Command) -> Callable[[], None]:
        """A callback for the palette that carries out the command."""

        def run() -> None:
            self.run_command(command)

        return run

    def action_toggle_qr(self) -> None:
        """Show or hide the code beside the stream at middle width; elsewhere it is a dialog."""
        self._wake_preview()
        if not self.has_class("-mid"):
            self.action_large_qr()
        elif not self.has_class("-preview") or self._has_been_seen():
            self.toggle_class("-preview")
            self.show_keys()

    def _has_been_seen(self) -> bool:
        """Who presses p to see the code must not hide the one that just came by itself."""
        return time.monotonic() - self.slid_in_at > SEEN_SECONDS

    def action_large_qr(self) -> None:
        """The code as a dialog."""
        self._wake_preview()
        if self.state.preview is not None:
            self.app.push_screen(QrScreen(self.state.preview, self.state.preview_known))

    def _wake_preview(self) -> None:
        known = self.state.preview_known
        if known is not None and known.facts.ended is not None:
            self.run_command(WakePreview())

    def action_cancel(self) -> None:
        """Cancel the session's job, when the person says so again."""

        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self.run_command(CancelJob())

        consequence = "What it wrote so far is put aside; the phone keeps the last green revision."
        self.app.push_screen(ConfirmScreen("Cancel this job?", consequence, "cancel it"), answered)

    def action_search(self) -> None:
        """Open the search of the stream."""
        self.open_panel("stream")
        self.query_one(SearchBar).open()

    def action_next_match(self, step: int) -> None:
        """Go to the next or the previous match."""
        self.query_one(StreamView).next_match(step)
        self.show_stream_status()

    def action_next_error(self, step: int) -> None:
        """Go to the next or the previous error."""
        stream = self.query_one(StreamView)
        if stream.has_errors:
            self.open_panel("stream")
            stream.next_error(step)
        else:
            self.notify("No errors in this session.", markup=False)
        self.show_stream_status()

    def action_follow(self) -> None:
        """Go to the stream's end and stay there."""
        self.query_one(StreamView).follow()
        self.show_stream_status()

    def action_toggle_stream(self, name: str) -> None:
        """Switch the stream's thoughts, wrapping or clock."""
        self.query_one(StreamView).toggle(name)
        self.show_stream_status()

    def action_zoom(self) -> None:
        """The focused panel fills the screen, or gives it back."""
        if self.maximized is not None:
            self.minimize()
            return
        focused = self.focused
        self.maximize(focused if focused is not None else self.query_one(StreamView))

    def action_panel(self, number: int) -> None:
        """Go to a panel by its number: a tab in the narrow layout."""
        names = [name for name, _ in TABS] if self.has_class("-narrow") else WIDE_PANELS
        if number <= len(names):
            self.open_panel(names[number - 1])

    def open_panel(self, name: str) -> None:
        """Give a panel the keys; in the narrow layout also the place."""
        for each, _ in TABS:
            self.set_class(each == name, f"-show-{each}")
        self.panel = name
        target = self.query_one(f"#{name}", Widget)
        if name == "stream" and not target.display:
            target = self.query_one("#welcome-demos", Widget)
        if target.focusable:
            self.set_focus(target)
        self.call_after_refresh(self.show_all)
