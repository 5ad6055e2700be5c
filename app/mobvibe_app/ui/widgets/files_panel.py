"""The files that the newest prompt changed, with lines added and removed."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content

from mobvibe_app.studio.state import BuildState, FileLine
from mobvibe_app.ui.widgets.panel import Panel
from mobvibe_app.ui.words.values import MUTED, one_line, shortened_path

MARKS = {
    "created": ("+", "$text-success"),
    "modified": ("M", "$text-warning"),
    "deleted": ("-", "$text-error"),
    "renamed": ("R", "$text-warning"),
}


class FilesPanel(Panel):
    """One file a line; the newest change comes last."""

    def show(self, state: BuildState) -> None:
        lines = [_line(each, self.line_width) for each in state.files.values()]
        number = len(lines)
        if not lines:
            lines = [Content.styled("nothing changed yet", MUTED)]
        self.show_lines(lines, f"{number} changed" if number else "")


def _line(changed: FileLine, width: int) -> Content:
    added = f"+{changed.added}" if changed.added else ""
    removed = f"−{changed.removed}" if changed.removed else ""
    figures = Content.assemble(
        (added, "$text-success"), " " if removed else "", (removed, "$text-error")
    )
    room = width - 3 - figures.cell_length
    path = shortened_path(one_line(changed.path), room)
    gap = " " * max(width - 2 - cell_len(path) - figures.cell_length, 1)
    return Content.assemble(MARKS[changed.change], f" {path}{gap}", figures)
