"""The QR code in a plain terminal: half blocks, black on white whatever the theme."""

from __future__ import annotations

from mobvibe_app.ui.qr_matrix import qr_matrix

_QUIET = 4
_COLOURS = {
    (False, False): "107;97",
    (False, True): "107;30",
    (True, False): "40;97",
    (True, True): "40;30",
}
_RESET = "\x1b[0m"


def qr_lines(url: str) -> list[str]:
    """Rows of `▄` cells, colours set for both halves: (upper, lower) dark."""
    matrix = qr_matrix(url)
    side = len(matrix) + 2 * _QUIET
    blank = (False,) * side
    rows = [blank] * _QUIET
    rows += [(False,) * _QUIET + row + (False,) * _QUIET for row in matrix]
    rows += [blank] * (_QUIET + side % 2)
    return [
        "".join(f"\x1b[{_COLOURS[pair]}m▄" for pair in zip(upper, lower, strict=True)) + _RESET
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
