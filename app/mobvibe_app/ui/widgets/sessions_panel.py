"""The sessions, newest first: what each is about, whether it runs, and its last activity."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.commands import LIST_KEYS, bindings, shown
from mobvibe_app.ui.messages import SessionChosen
from mobvibe_app.ui.words.values import MUTED, age, one_line, shortened
from mobvibe_worker.jobs import SessionSummary

SPINNER = "◐◓◑◒"
SPINS_PER_SECOND = 2
MARKS = {
    "pending": ("○", MUTED),
    "completed": ("✔", "$text-success"),
    "failed": ("✖", "$text-error"),
    "cancelled": ("■", MUTED),
}


class SessionsPanel(OptionList):
    """Shows the session that is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(LIST_KEYS)]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._state = BuildState()
        self._drawn: list[Content] = []
        self._turn = 0

    def on_mount(self) -> None:
        """Set the title, and a spinner that turns only while something runs."""
        self.border_title = Content(f"{shown('panel.1')} Sessions")
        self._spinner = self.set_interval(1 / SPINS_PER_SECOND, self._spin, pause=True)

    def show(self, state: BuildState) -> None:
        is_first = not self._state.sessions
        was_selected = self._state.selected
        self._state = state
        if any(each.job_status == "processing" for each in state.sessions):
            self._spinner.resume()
        else:
            self._spinner.pause()
        self._draw()
        self.border_subtitle = Content(str(len(state.sessions)) if state.sessions else "")
        if state.selected != was_selected or is_first:
            self._highlight(state)

    def on_resize(self) -> None:
        """Align the ages to the new right edge."""
        self._draw()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(SessionChosen(self._state.sessions[event.option_index].id))

    def _highlight(self, state: BuildState) -> None:
        for index, session in enumerate(state.sessions):
            if session.id == state.selected:
                self.highlighted = index

    def _spin(self) -> None:
        self._turn += 1
        self._draw()

    def _draw(self) -> None:
        now = datetime.now(UTC)
        width = max(self.scrollable_content_region.width or 28, 12)
        lines = [self._content(each, width, now) for each in self._state.sessions]
        if len(lines) != len(self._drawn):
            kept = self.highlighted
            self.set_options(Option(line) for line in lines)
            if kept is not None and lines:
                self.highlighted = min(kept, len(lines) - 1)
        else:
            for index, line in enumerate(lines):
                if not line.is_same(self._drawn[index]):
                    self.replace_option_prompt_at_index(index, line)
        self._drawn = lines

    def _content(self, session: SessionSummary, width: int, now: datetime) -> Content:
        status, is_shown = session.job_status, session.id == self._state.selected
        mark = MARKS.get(status or "", ("·", MUTED))
        if status == "processing":
            mark = (SPINNER[self._turn % len(SPINNER)], "$text-warning")
        when = "queued" if status == "pending" else age(session.activity_at, now)
        title = shortened(one_line(session.title), width - len(when) - 3)
        gap = " " * max(width - cell_len(title) - len(when) - 2, 1)
        style = "bold" if is_shown else ""
        line = Content.assemble(mark, " ", (title, style), gap, (when, MUTED))
        if not (is_shown and status == "processing" and self._state.progress):
            return line
        activity = shortened(one_line(self._state.progress.activity), width - 2)
        return line + Content.assemble("\n  ", (activity or "starting", MUTED))
