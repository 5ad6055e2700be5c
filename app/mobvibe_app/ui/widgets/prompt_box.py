"""The box in which a person describes an app; the arrow keys bring earlier prompts back."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.strip import Strip
from textual.widgets import TextArea

from mobvibe_app.ui.commands import PROMPT_KEYS, bindings, key
from mobvibe_app.ui.messages import PlatformChosen, PromptResized, PromptSubmitted
from mobvibe_app.ui.words.values import MUTED
from mobvibe_worker.jobs import PROMPT_LIMIT, Platform
from mobvibe_worker.sanitize import clean_text

COUNTER_FROM = PROMPT_LIMIT - 2_000
MOST_HISTORY = 200
OWN_KEYS = [
    *key("prompt.send").keys.split(","),
    *key("prompt.new_line").keys.split(","),
]
"""What a TextArea would otherwise turn into a line break."""
NEW_APP = "Describe a new app…"
CHANGE = "Describe a change to this app…"


class PromptBox(TextArea):
    """Keeps its text until the studio has accepted it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(PROMPT_KEYS)]

    def __init__(self) -> None:
        super().__init__(
            id="prompt",
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder=Content(NEW_APP),
            tab_behavior="focus",
        )
        self._history: list[str] = []
        self._place = 0
        self._draft = ""
        self.is_for_new_app = True
        self.platform: Platform = "mobile"
        """What the next new app is for."""

    def aim(self, *, at_new_app: bool) -> None:
        """Set whether the next prompt starts an app or changes the one on the screen."""
        if at_new_app != self.is_for_new_app:
            self.is_for_new_app = at_new_app
            self.placeholder = Content(NEW_APP if at_new_app else CHANGE)

    def remember(self, prompt: str) -> None:
        """Add an earlier prompt at the end of the history."""
        kept = clean_text(prompt)
        if kept and kept not in self._history[-1:]:
            self._history.append(kept)
            del self._history[:-MOST_HISTORY]
        self._place = len(self._history)

    def accept(self, prompt: str) -> None:
        """The studio has accepted this prompt: empty the box, unless it holds another text by now."""
        self.remember(prompt)
        if self.text == prompt:
            self.clear()

    def render_line(self, y: int) -> Strip:
        """One row; blank if a shrinking terminal leaves no width, which Textual does not expect."""
        if self.wrap_width < 1 or self.content_size.width < 1:
            return Strip.blank(self.size.width)
        return super().render_line(y)

    def action_send(self) -> None:
        self.post_message(PromptSubmitted(self.text))

    def action_next_platform(self) -> None:
        self.platform = "web" if self.platform == "mobile" else "mobile"
        self.post_message(PlatformChosen())

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_leave(self) -> None:
        self.screen.set_focus(self.screen.query_one("#stream"))

    def action_cursor_up(self, select: bool = False) -> None:
        """Move up; from the first line, to the previous prompt."""
        if not select and self.cursor_at_first_line and self._place > 0:
            self._recall(self._place - 1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Move down; from the last line, to the next prompt and at last to the draft."""
        if not select and self.cursor_at_last_line and self._place < len(self._history):
            self._recall(self._place + 1)
        else:
            super().action_cursor_down(select)

    async def _on_key(self, event: events.Key) -> None:
        # Textual calls the base class's method next, unless it is prevented here.
        if event.key in OWN_KEYS:
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = clean_text(event.text)

    def on_text_area_changed(self) -> None:
        """Show the length if it is near the limit."""
        length = len(self.text)
        words = f"{length:,} / {PROMPT_LIMIT:,}" if length >= COUNTER_FROM else ""
        is_over = length > PROMPT_LIMIT
        self.border_subtitle = Content.styled(words, "bold $text-error" if is_over else MUTED)
        self.set_class(is_over, "-over")

    def on_resize(self, event: events.Resize) -> None:
        """Report to the screen that the number of rows may have changed."""
        del event
        self.post_message(PromptResized())

    def _recall(self, place: int) -> None:
        if self._place == len(self._history):
            self._draft = self.text
        self._place = place
        self.text = self._history[place] if place < len(self._history) else self._draft
        self.move_cursor(self.document.end)
