"""The running app's QR code, its address, and what opens it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Center, Vertical
from textual.content import Content
from textual.widgets import Static

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import PreviewKnown
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.commands import shown
from mobvibe_app.ui.qr_matrix import URL_LIMIT, qr_matrix, renderings_that_fit
from mobvibe_app.ui.widgets.qr_code import QrCode
from mobvibe_app.ui.words.preview import known_lines
from mobvibe_app.ui.words.values import MUTED, one_line

INNER_WIDTH = 37
ROOM_ROWS = 22


class PreviewPanel(Vertical):
    """Takes 39 columns with its frame; a code that needs more is shown in the dialog only."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._preview: PreviewAddress | None = None
        self._known: PreviewKnown | None = None

    def compose(self) -> ComposeResult:
        with Center():
            yield QrCode(id="panel-qr")
        yield Static(id="panel-words")
        yield Static(id="panel-known")

    def on_mount(self) -> None:
        self.border_title = Content(f"{shown('panel.4')} Preview")
        self._show_code(None)

    def show(self, state: BuildState) -> None:
        """Show the address, and what is known: phones, builds, usage, the console, or what is in the way."""
        if state.preview != self._preview:
            self._preview = state.preview
            self._show_code(state.preview)
        known = state.preview_known if state.preview else None
        if known != self._known:
            self._known = known
            lines = known_lines(known, INNER_WIDTH) if known else []
            self.query_one("#panel-known", Static).update(Content("\n").join(lines))

    def _show_code(self, preview: PreviewAddress | None) -> None:
        code, words = self.query_one(QrCode), self.query_one("#panel-words", Static)
        if preview is None:
            code.display = False
            words.update(
                Content.styled("The QR code comes here with the first\nworking version.", MUTED)
            )
            self.border_subtitle = Content("")
            return
        url = one_line(preview.url)
        renderings = []
        if len(url) <= URL_LIMIT:
            matrix = qr_matrix(url)
            renderings = [
                rendering
                for rendering in renderings_that_fit(matrix, INNER_WIDTH, ROOM_ROWS)
                if not rendering.is_wide
            ]
            if renderings:
                code.show(matrix, renderings[0])
        code.display = bool(renderings)
        expo_go = one_line(preview.expo_go)
        words.update(Content.assemble((url, "bold"), "\n", (expo_go, MUTED)))
        self.border_subtitle = Content(
            f"{shown('copy')} copy · {shown('open')} open · {shown('qr.large')} larger"
        )
