"""The one-line search of the stream."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from mobvibe_app.ui.messages import SearchChanged


class SearchBar(Input):
    """Marks while one types; enter keeps the search, escape ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "End the search"),
        Binding("enter", "submit", "Keep the marks"),
    ]

    def __init__(self) -> None:
        super().__init__(placeholder="search the stream", compact=True, id="search")

    def open(self) -> None:
        """Show the bar, empty, and take the keys."""
        self.value = ""
        self.display = True
        self.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Mark what is typed so far."""
        event.stop()
        if self.display:
            self.post_message(SearchChanged(self.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the marks, give the keys back."""
        event.stop()
        self.display = False
        self.post_message(SearchChanged(self.value, is_final=True))

    def action_leave(self) -> None:
        """Forget the search."""
        self.display = False
        self.post_message(SearchChanged("", is_final=True))
