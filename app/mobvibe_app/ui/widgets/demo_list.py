"""The list of recorded builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mobvibe_app.studio.changes import DemoSummary
from mobvibe_app.ui.commands import DEMO_KEYS, bindings
from mobvibe_app.ui.messages import DemoChosen
from mobvibe_app.ui.words.values import MUTED, one_line, shortened

PROMPT_WIDTH = 54


class DemoList(OptionList):
    """Posts DemoChosen for the one that is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEMO_KEYS)]

    def __init__(self, demos: Sequence[DemoSummary], *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._demos: tuple[DemoSummary, ...] = ()
        self.show(demos)

    def show(self, demos: Sequence[DemoSummary]) -> None:
        if tuple(demos) == self._demos:
            return
        self._demos = tuple(demos)
        self.set_options(Option(_content(demo)) for demo in self._demos)
        self.highlighted = 0 if self._demos else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(DemoChosen(self._demos[event.option_index].name))


def _content(demo: DemoSummary) -> Content:
    changes = f"  changes {one_line(demo.changes)}" if demo.changes else ""
    return Content.assemble(
        ("▸ ", "$text-accent"),
        (one_line(demo.title), "bold"),
        (changes, MUTED),
        "\n  ",
        (shortened(one_line(demo.prompt), PROMPT_WIDTH), MUTED),
    )
