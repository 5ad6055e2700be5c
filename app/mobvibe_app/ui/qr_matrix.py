"""Encodes a text as a QR code, and knows the renderings of it that a phone can read from a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

URL_LIMIT = 300
"""Longer addresses need codes larger than a terminal; they are shown as text."""
Matrix = tuple[tuple[bool, ...], ...]
"""Rows of modules, True for dark, without the quiet zone."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendering: two cells a module if `is_wide`, else two modules a cell, one above the other."""

    is_wide: bool
    quiet: int

    def size(self, matrix: Matrix) -> tuple[int, int]:
        modules = len(matrix) + 2 * self.quiet
        return (modules * 2, modules) if self.is_wide else (modules, (modules + 1) // 2)


RENDERINGS = (Rendering(True, 4), Rendering(False, 4), Rendering(False, 2))
"""Best first. A wide code survives line spacing; four modules are the quiet zone of the standard."""


@lru_cache(maxsize=8)
def qr_matrix(text: str) -> Matrix:
    """The code at error level M, or at a higher one if that takes no more room."""
    from qrcode.constants import ERROR_CORRECT_H, ERROR_CORRECT_M, ERROR_CORRECT_Q
    from qrcode.exceptions import DataOverflowError
    from qrcode.main import QRCode

    best = QRCode(error_correction=ERROR_CORRECT_M, border=0)
    best.add_data(text)
    best.make(fit=True)
    for level in (ERROR_CORRECT_Q, ERROR_CORRECT_H):
        boosted = QRCode(version=best.version, error_correction=level, border=0)
        boosted.add_data(text)
        try:
            boosted.make(fit=False)
        except (DataOverflowError, ValueError):
            break
        best = boosted
    return tuple(tuple(map(bool, row)) for row in best.get_matrix())


def renderings_that_fit(matrix: Matrix, columns: int, rows: int) -> list[Rendering]:
    """The renderings that fit into so many cells, best first."""
    return [
        rendering
        for rendering in RENDERINGS
        if rendering.size(matrix)[0] <= columns and rendering.size(matrix)[1] <= rows
    ]
