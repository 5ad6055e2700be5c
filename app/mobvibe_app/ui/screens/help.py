"""The help screen: every key and command by what it is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mobvibe_app.ui.commands import KEYS, SECTIONS, Key, closing, shown, shown_keys

KEY_WIDTH = 13


class HelpScreen(ModalScreen[None]):
    """The table of commands as a dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [closing("help")]

    def __init__(self, version: str) -> None:
        super().__init__()
        self._version = version

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog -help") as dialog:
            dialog.border_title = Content(f"mobvibe-tui {self._version}")
            dialog.border_subtitle = Content(f"{shown('back')} close")
            yield Static(help_table(KEYS))


def help_table(keys: Iterable[Key]) -> Content:
    """One row for each help text, with the keys that share it; what has no key is reached from the palette."""
    rows: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        if key.help:
            rows.setdefault((key.section, key.help), []).extend(shown_keys(key))
    lines: list[Content] = []
    for section in SECTIONS:
        lines += [Content(""), Content.styled(section, "bold")]
        for (at, words), names in rows.items():
            if at == section:
                column = f"  {_fitting(names or [shown('palette')]):<{KEY_WIDTH}}  "
                lines.append(Content.assemble((column, "$text-accent"), words))
    return Content("\n").join(lines[1:])


def _fitting(names: list[str]) -> str:
    """The first key, and as many more as fit."""
    text = names[0]
    for name in names[1:]:
        if len(f"{text} {name}") > KEY_WIDTH:
            break
        text = f"{text} {name}"
    return text
