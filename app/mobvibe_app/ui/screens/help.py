"""Every key, by what it is for."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    (
        "Build",
        (
            ("i", "write a prompt: enter sends, ctrl+j a new line"),
            ("ctrl+t", "in the prompt: an app for phones, or one for browsers"),
            ("↑ ↓", "in the prompt: earlier prompts"),
            ("n", "a prompt for a new app"),
            ("d", "replay a recorded build: no key, no cost"),
            ("x", "cancel the job (asks first)"),
        ),
    ),
    (
        "See it on the phone",
        (
            ("p", "the QR code"),
            ("v", "the QR code, larger; there: another rendering"),
            ("y", "copy the address, or what is selected"),
            ("o", "open the web version in a browser"),
        ),
    ),
    (
        "Read the stream",
        (
            ("j k g G", "move; G or end follows again"),
            ("/", "search; n and N next and previous, esc ends it"),
            ("e E", "next and previous error"),
            ("t w h", "thoughts, wrapping, clock"),
            ("z", "zoom the panel; esc back"),
            ("mouse", "drag to select, ctrl+c copies"),
        ),
    ),
    (
        "Move about",
        (
            ("1 to 5", "the panels; tab the next one"),
            ("enter", "in Sessions: show that session"),
            ("ctrl+p", "all commands, themes among them"),
            ("q", "quit; a running job goes back to the queue"),
        ),
    ),
)


class HelpScreen(ModalScreen[None]):
    """Any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss(None)", "Close", key_display="esc")
    ]

    def __init__(self, version: str) -> None:
        super().__init__()
        self._version = version

    def compose(self) -> ComposeResult:
        """The keys in four groups."""
        with VerticalScroll(classes="dialog -help") as dialog:
            dialog.border_title = Content(f"mobvibe-tui {self._version}")
            dialog.border_subtitle = Content("esc close")
            yield Static(_table())


def _table() -> Content:
    lines: list[Content] = []
    for group, keys in KEYS:
        lines.append(Content.styled(group, "bold"))
        lines.extend(
            Content.assemble((f"  {key:<9}", "$text-accent"), (meaning, ""))
            for key, meaning in keys
        )
        lines.append(Content(""))
    return Content("\n").join(lines[:-1])
