"""The keys of the main screen, each with an id, so that a keymap can move it."""

from __future__ import annotations

from textual.binding import Binding

BUILD_BINDINGS = (
    Binding("i", "prompt", "Prompt", id="prompt"),
    Binding("p", "toggle_qr", "QR", id="qr"),
    Binding("d", "demos", "Demos", id="demos"),
    Binding("n", "next_match(1)", "Next match", id="match.next"),
    Binding("N", "next_match(-1)", "Previous match", show=False, id="match.previous"),
    Binding("n", "new_app", "New", id="new"),
    Binding("slash", "search", "Search", key_display="/", id="search"),
    Binding("x", "cancel", "Cancel", id="cancel"),
    Binding("z", "zoom", "Zoom", id="zoom"),
    Binding("G,end,f", "follow", "Follow", key_display="G", show=False, id="follow"),
    Binding("e", "next_error(1)", "Next error", show=False, id="error.next"),
    Binding("E", "next_error(-1)", "Previous error", show=False, id="error.previous"),
    Binding("t", "toggle_stream('thoughts')", "Thoughts", show=False, id="thoughts"),
    Binding("w", "toggle_stream('wrap')", "Wrap", show=False, id="wrap"),
    Binding("h", "toggle_stream('clock')", "Clock", show=False, id="clock"),
    Binding("v", "large_qr", "Large QR", show=False, id="qr.large"),
    Binding("y", "app.copy_url", "Copy the address", show=False, id="copy"),
    Binding("o", "app.open_web", "Open in a browser", show=False, id="open"),
    Binding("1", "panel(1)", "Panel 1", show=False),
    Binding("2", "panel(2)", "Panel 2", show=False),
    Binding("3", "panel(3)", "Panel 3", show=False),
    Binding("4", "panel(4)", "Panel 4", show=False),
    Binding("5", "panel(5)", "Panel 5", show=False),
    Binding("escape", "back", "Back", show=False, id="back"),
    Binding("question_mark", "app.help", "Help", key_display="?", id="help"),
    Binding("q", "app.quit", "Quit", id="quit"),
)
