"""Draws docs/screenshot.svg by running the dashboard with a scripted studio: `python docs/screenshot.py`.

Block characters are drawn as shapes, so that the picture looks the same in every font and its QR code can be scanned.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, ROWS = 130, 36
WIDTH, HEIGHT, MARGIN = 8.43, 18.0, 14.0
INK, PAPER = "#D9DCE8", "#0E1016"
FONTS = "'JetBrains Mono','Fira Code',Menlo,Consolas,'DejaVu Sans Mono',monospace"
BLOCKS = {"▀": (0.0, 0.5), "█": (0.0, 1.0)} | {
    bar: (1 - eighths / 8, 1.0) for eighths, bar in enumerate("▁▂▃▄▅▆▇", 1)
}


async def drawn_rows() -> list[list[Segment]]:
    """The cells of a finished build, with its QR code beside the stream."""
    sys.path.insert(0, str(ROOT / "tests"))
    from mobvibe_app.ui.app import MobvibeApp
    from support.scripted_studio import ScriptedStudio, build_changes, services_up

    studio = ScriptedStudio([*services_up(), *build_changes()])
    app = MobvibeApp(lambda: studio, version="0.1.0", model_label="demo: recorded, no cost")
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
        await pilot.pause(3)
        return [list(strip) for strip in app.screen._compositor.render_strips()]


def shapes(rows: Iterable[Iterable[Segment]]) -> Iterator[str]:
    """Rectangles for backgrounds and block glyphs, text for the rest."""
    for y, row in enumerate(rows):
        x = 0
        for segment in row:
            yield from segment_shapes(segment.text, segment.style or Style(), x, y)
            x += cell_len(segment.text)


def segment_shapes(text: str, style: Style, x: int, y: int) -> Iterator[str]:
    """The shapes of one segment, whose cells have the same style."""
    ink = hex_of(style, is_background=False)
    paper = hex_of(style, is_background=True)
    if paper != PAPER.lower():
        yield rectangle(x, y, cell_len(text), 0.0, 1.0, paper)
    if any(char in BLOCKS for char in text):
        for index, char in enumerate(text):
            if char in BLOCKS:
                yield rectangle(x + index, y, 1, *BLOCKS[char], ink)
        return
    words = text.strip()
    if words:
        left = x + len(text) - len(text.lstrip())
        weight = ' font-weight="700"' if style.bold else ""
        slant = ' font-style="italic"' if style.italic else ""
        yield (
            f'<text x="{MARGIN + left * WIDTH:.1f}" y="{MARGIN + (y + 0.74) * HEIGHT:.1f}"'
            f' textLength="{cell_len(words) * WIDTH:.1f}" fill="{ink}"{weight}{slant}'
            f' xml:space="preserve">{escape(words)}</text>'
        )


def rectangle(x: int, y: int, cells: int, top: float, bottom: float, colour: str) -> str:
    """A rectangle over cells of one row; `top` and `bottom` are fractions of the row's height."""
    return (
        f'<rect x="{MARGIN + x * WIDTH:.1f}" y="{MARGIN + (y + top) * HEIGHT:.1f}"'
        f' width="{cells * WIDTH:.1f}" height="{(bottom - top) * HEIGHT:.1f}" fill="{colour}"'
        ' shape-rendering="crispEdges"/>'
    )


def hex_of(style: Style, *, is_background: bool) -> str:
    colour = style.bgcolor if is_background else style.color
    if colour is None or colour.is_default:
        return (PAPER if is_background else INK).lower()
    return colour.get_truecolor().hex


def main() -> None:
    width, height = COLUMNS * WIDTH + 2 * MARGIN, ROWS * HEIGHT + 2 * MARGIN
    body = "\n".join(shapes(asyncio.run(drawn_rows())))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' font-family="{FONTS}" font-size="14">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>\n{body}\n</svg>\n'
    )
    Path(__file__).with_suffix(".svg").write_text(svg)


if __name__ == "__main__":
    main()
