"""The dialog with the recorded builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mobvibe_app.studio.changes import DemoSummary
from mobvibe_app.ui.commands import closing, shown
from mobvibe_app.ui.messages import DemoChosen
from mobvibe_app.ui.widgets.demo_list import DemoList
from mobvibe_app.ui.words.values import MUTED


class DemosScreen(ModalScreen[str | None]):
    """Closes with the name of the recording to replay, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [closing("demos")]

    def __init__(self, demos: Sequence[DemoSummary]) -> None:
        super().__init__()
        self._demos = demos

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -list") as dialog:
            dialog.border_title = Content("Replay a recorded build")
            dialog.border_subtitle = Content(
                f"{shown('demo.replay')} replay · {shown('back')} close"
            )
            yield Static(
                Content.styled(
                    "The model's words are recorded: no key, no cost. Files, checks and preview are real.",
                    MUTED,
                )
            )
            yield DemoList(self._demos)

    def on_demo_chosen(self, event: DemoChosen) -> None:
        event.stop()
        self.dismiss(event.name)
