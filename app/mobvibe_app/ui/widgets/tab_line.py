"""The narrow layout's panels as one line of tabs, and notes such as that a preview is ready."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.widget import Widget

from mobvibe_app.ui.messages import PanelChosen
from mobvibe_app.ui.words.values import MUTED

TABS = (
    ("stream", "Stream"),
    ("sessions", "Sessions"),
    ("services", "Services"),
    ("files", "Files"),
)


class TabLine(Widget):
    """A key and a name for each panel; a click opens it too."""

    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._panel = "stream"
        self._notes: tuple[str, ...] = ()

    def show(self, panel: str, *notes: str) -> None:
        """Mark the open panel, and show these notes at the right."""
        if (panel, notes) != (self._panel, self._notes):
            self._panel, self._notes = panel, notes
            self.refresh()

    def render(self) -> Content:
        parts: list[Content] = []
        for number, (panel, name) in enumerate(TABS, 1):
            style = "bold underline" if panel == self._panel else MUTED
            parts.append(Content.assemble((str(number), "$text-accent"), " ", (name, style)))
        left = Content("   ").join(parts)
        right = Content.styled("  ".join(filter(None, self._notes)), "bold $text-success")
        gap = self.size.width - left.cell_length - right.cell_length
        return left + " " * max(gap, 2) + right

    def on_click(self, event: events.Click) -> None:
        at = 0
        for panel, name in TABS:
            width = cell_len(name) + 2
            if at <= event.x - self.gutter.left < at + width:
                self.post_message(PanelChosen(panel))
            at += width + 3
