"""The dialog that asks whose view to show."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mobvibe_app.ui.commands import closing, shown
from mobvibe_app.ui.words.values import MUTED


class SeeAsScreen(ModalScreen[str | None]):
    """Closes with the email, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [closing("view.user")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content("View as a user")
            dialog.border_subtitle = Content(f"{shown('email.see')} see · {shown('back')} close")
            yield Static(
                Content.styled(
                    "Their sessions, jobs and events, as row-level security gives them; read only.",
                    MUTED,
                )
            )
            yield Input(placeholder="email", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip() or None)
