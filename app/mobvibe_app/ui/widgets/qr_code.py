"""Draws a QR code in black on white, whatever the theme."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from mobvibe_app.ui.qr_matrix import Matrix, Rendering

DARK, LIGHT = "#000000", "#ffffff"


class QrCode(Widget):
    """Takes exactly the cells of its code. Nothing may tint it or lie over it."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    QrCode {
        width: auto;
        height: auto;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._strips: list[Strip] = []
        self._drawn_size = (0, 0)

    def show(self, matrix: Matrix, rendering: Rendering) -> None:
        columns, rows = rendering.size(matrix)
        strips = [Strip(_segments(matrix, rendering, y), columns) for y in range(rows)]
        if strips != self._strips:
            self._strips, self._drawn_size = strips, (columns, rows)
            self.refresh(layout=True)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        del container, viewport
        return self._drawn_size[0]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        del container, viewport, width
        return self._drawn_size[1]

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)


def _segments(matrix: Matrix, rendering: Rendering, y: int) -> list[Segment]:
    span = range(-rendering.quiet, len(matrix) + rendering.quiet)
    if rendering.is_wide:
        dark, light = Style(color=LIGHT, bgcolor=DARK), Style(color=DARK, bgcolor=LIGHT)
        return [
            Segment("  ", dark if _dark(matrix, x, y - rendering.quiet) else light) for x in span
        ]
    top = 2 * y - rendering.quiet
    cells = [(_dark(matrix, x, top), _dark(matrix, x, top + 1)) for x in span]
    return [_half_blocks(upper, lower) for upper, lower in cells]


def _half_blocks(upper: bool, lower: bool) -> Segment:
    colours = {True: DARK, False: LIGHT}
    style = Style(color=colours[upper], bgcolor=colours[lower])
    if upper == lower:
        style = Style(color=colours[not upper], bgcolor=colours[upper])
        return Segment(" ", style)
    return Segment("▀", style)


def _dark(matrix: Matrix, x: int, y: int) -> bool:
    return 0 <= y < len(matrix) and 0 <= x < len(matrix) and matrix[y][x]
