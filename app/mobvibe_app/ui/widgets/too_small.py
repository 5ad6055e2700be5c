"""What a terminal shows that is too small for the dashboard."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

LEAST_COLUMNS, LEAST_ROWS = 60, 16


class TooSmall(Widget):
    """One centred line; shown by the stylesheet below 60 columns or 16 rows."""

    def render(self) -> Content:
        """What is needed, and what there is."""
        size = self.app.size
        return Content(f"needs {LEAST_COLUMNS}×{LEAST_ROWS}, is {size.width}×{size.height}")
