"""One question before something that cannot be undone."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mobvibe_app.ui.commands import CONFIRM_KEYS, bindings, shown


class ConfirmScreen(ModalScreen[bool]):
    """Closes with the answer."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(CONFIRM_KEYS)]

    def __init__(self, question: str, consequence: str, yes: str) -> None:
        super().__init__()
        self._question, self._consequence, self._yes = question, consequence, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._question)
            dialog.border_subtitle = Content(
                f"{shown('confirm.yes')} {self._yes} · {shown('confirm.no')} back"
            )
            yield Static(Content(self._consequence))

    def action_answer(self, is_yes: bool) -> None:
        self.dismiss(is_yes)
