"""A framed panel of styled lines that scrolls if they are too many."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static


class Panel(VerticalScroll, can_focus=True):
    """Title at the top left, counts at the bottom right; subclasses build the lines."""

    def __init__(self, title: str, *, id: str) -> None:
        super().__init__(id=id)
        self._title = title
        self._shown: Content | None = None

    def on_mount(self) -> None:
        self.border_title = Content(self._title)
        self.mount(Static(self._shown or "", classes="panel-body"))

    def show_lines(self, lines: list[Content], subtitle: str = "") -> None:
        """Show these lines; nothing is redrawn if nothing changed."""
        content = Content("\n").join(lines)
        if self._shown is None or not content.is_same(self._shown):
            self._shown = content
            for body in self.query(Static):
                body.update(content)
        if Content(subtitle).markup != (self.border_subtitle or ""):
            self.border_subtitle = Content(subtitle)

    @property
    def line_width(self) -> int:
        return max(self.scrollable_content_region.width or 28, 10)
