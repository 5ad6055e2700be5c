"""The one-line search of the stream."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.widgets import Input

from mobvibe_app.ui.commands import SEARCH_KEYS, bindings
from mobvibe_app.ui.messages import SearchChanged


class SearchBar(Input):
    """Marks matches while the person types; submitting keeps them, leaving ends the search."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(SEARCH_KEYS)]

    def __init__(self) -> None:
        super().__init__(placeholder="search the stream", compact=True, id="search")

    def open(self) -> None:
        self.value = ""
        self.display = True
        self.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.display:
            self.post_message(SearchChanged(self.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.display = False
        self.post_message(SearchChanged(self.value, is_final=True))

    def action_leave(self) -> None:
        self.display = False
        self.post_message(SearchChanged("", is_final=True))
