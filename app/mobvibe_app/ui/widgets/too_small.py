"""The line that a terminal too small for the dashboard shows."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

LEAST_COLUMNS, LEAST_ROWS = 60, 16


class TooSmall(Widget):
    """Shown by the stylesheet below 60 columns or 16 rows."""

    def render(self) -> Content:
        size = self.app.size
        return Content(f"needs {LEAST_COLUMNS}×{LEAST_ROWS}, is {size.width}×{size.height}")
