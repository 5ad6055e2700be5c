"""One row under the top line: what went wrong and what to do next. Everything else stays usable."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from mobvibe_app.studio.state import Trouble
from mobvibe_app.ui.words.values import one_line


class TroubleBanner(Static):
    """Hidden while there is no trouble."""

    def on_mount(self) -> None:
        self.display = False

    def show(self, trouble: Trouble | None) -> None:
        self.display = trouble is not None
        if trouble is not None:
            message, remedy = one_line(trouble.message), one_line(trouble.remedy)
            self.update(Content.assemble(("✖ ", "bold"), (message, "bold"), " ", remedy))
