"""What stands in the stream's place before the first session: how to begin, and what still starts."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from mobvibe_app.studio.changes import DemoSummary
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.commands import shown
from mobvibe_app.ui.widgets.demo_list import DemoList
from mobvibe_app.ui.words.services import service_lines
from mobvibe_app.ui.words.values import MUTED

INNER_WIDTH = 58


class Welcome(Vertical):
    """How to begin, the recorded builds, and the services that are still starting."""

    def compose(self) -> ComposeResult:
        with Vertical(id="welcome-body"):
            yield Static(id="welcome-head")
            yield DemoList((), id="welcome-demos")
            yield Static(id="welcome-services")

    def show(self, state: BuildState, demos: Sequence[DemoSummary]) -> None:
        """Show this state; the list only if there are no sessions."""
        is_empty = state.is_overview_known and not state.sessions
        head = self.query_one("#welcome-head", Static)
        head.update(_headline(is_empty=is_empty, has_demos=bool(demos)))
        listed = self.query_one(DemoList)
        listed.show(demos)
        listed.display = bool(demos) and is_empty
        busy = [each for each in state.services if each.state not in ("healthy", "waiting")]
        lines = [line for each in busy for line in service_lines(each, INNER_WIDTH)]
        services = self.query_one("#welcome-services", Static)
        services.update(Content("\n").join(lines))
        services.display = bool(lines)


def _headline(*, is_empty: bool, has_demos: bool) -> Content:
    if not is_empty:
        return Content.assemble(
            ("Starting", "bold"), "\n", ("Postgres first, then your sessions.", MUTED)
        )
    words = Content.assemble(
        ("Describe an app. Scan the code. It is on your phone.", "bold"),
        "\n\n",
        (shown("prompt"), "bold $text-accent"),
        f"  describe an app below, and press {shown('prompt.send')}",
    )
    if not has_demos:
        return words
    return words + Content.assemble(
        "\n",
        (shown("demo.replay"), "bold $text-accent"),
        "  replay a recorded build, no key and no cost (later: ",
        (shown("demos"), "bold $text-accent"),
        ")",
    )
