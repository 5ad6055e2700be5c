"""The QR code as large as the terminal allows, with its address in words."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Center, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import Hint
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.commands import QR_KEYS, bindings, closing, shown
from mobvibe_app.ui.qr_matrix import URL_LIMIT, Rendering, qr_matrix, renderings_that_fit
from mobvibe_app.ui.widgets.qr_code import QrCode
from mobvibe_app.ui.words.preview import hint_lines
from mobvibe_app.ui.words.values import MUTED, one_line

FRAME_COLUMNS, FRAME_ROWS = 2, 2
WORDS_WIDTH = 46
LEAST_WORDS = 20


class QrScreen(ModalScreen[None]):
    """Follows the state; one key tries another rendering, for a phone that cannot read this one."""

    BINDINGS: ClassVar[list[BindingType]] = [closing("qr"), *bindings(QR_KEYS)]

    def __init__(self, preview: PreviewAddress) -> None:
        super().__init__()
        self._preview = preview
        self._hint: Hint | None = None
        self._turn = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="qr-dialog"):
            with Center():
                yield QrCode(id="qr")
            yield Static(id="qr-words")

    def on_mount(self) -> None:
        self.watch(self.app, "state", self.show)
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def show(self, state: BuildState) -> None:
        """Show the current address and hint; without a preview there is nothing to scan."""
        if state.preview is None:
            if self.is_current:
                self.dismiss(None)
            return
        hint = state.preview_known.hint if state.preview_known else None
        if (state.preview, hint) != (self._preview, self._hint):
            self._preview, self._hint = state.preview, hint
            self._fit()

    def action_next_rendering(self) -> None:
        """Draw the code in the next rendering; the last one is the address in words."""
        self._turn += 1
        self._fit()

    def _fit(self) -> None:
        if not self.is_mounted or not self.size.width:
            return
        url = one_line(self._preview.url)
        columns, rows = self.size
        is_tight = columns < 37 or rows < 23
        frame = 0 if is_tight else 1
        width = max(min(columns - 2 * frame, WORDS_WIDTH), LEAST_WORDS)
        fitting: list[Rendering | None] = []
        # A hint takes rows, but never the code itself.
        choices = self._words(url, width, is_tight=is_tight)
        words = choices[0]
        for shorter in choices if len(url) <= URL_LIMIT else ():
            taken = len(shorter.wrap(width)) + frame * FRAME_ROWS
            room = columns - frame * FRAME_COLUMNS, rows - taken
            fitting.extend(renderings_that_fit(qr_matrix(url), *room))
            if fitting:
                words = shorter
                break
        fitting.append(None)
        rendering = fitting[self._turn % len(fitting)]
        code, dialog = self.query_one(QrCode), self.query_one("#qr-dialog")
        code.display = rendering is not None
        if rendering is not None:
            code.show(qr_matrix(url), rendering)
            width = max(width, rendering.size(qr_matrix(url))[0])
        dialog.set_class(is_tight, "-tight")
        dialog.styles.width = width + 2 * frame
        is_web = self._preview.platform == "web"
        dialog.border_title = Content("Open in a browser" if is_web else "Scan with Expo Go")
        scan, back = f"{shown('qr.rendering')} can't scan?", shown("back")
        hints = f"{shown('copy')} copy · {scan} · {shown('open')} browser · {back}"
        dialog.border_subtitle = Content(hints if width > 42 else f"{scan} · {back}")
        self.query_one("#qr-words", Static).update(words)

    def _words(self, url: str, width: int, *, is_tight: bool) -> list[Content]:
        """The words below the code, from the longest to the shortest."""
        address = Content.styled(url, "bold")
        plain = address if is_tight else address + "\n" + self._expo_go
        if self._hint is None:
            return [plain]
        in_full, in_short = (
            Content("\n").join([address, *hint_lines(self._hint, width, in_short=short)])
            for short in (False, True)
        )
        return [in_full, in_short, plain]

    @property
    def _expo_go(self) -> Content:
        return Content.styled(one_line(self._preview.expo_go), MUTED)
