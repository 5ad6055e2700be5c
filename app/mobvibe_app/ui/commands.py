"""The table of commands: every key of the dashboard, its title and help, when it acts and what it does.

Bindings, footer, help screen, palette and the keys that a screen text names all come from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.keys import format_key

from mobvibe_app.studio.commands import Command as StudioCommand
from mobvibe_app.studio.commands import RebuildService, RestartService, SeeAs

if TYPE_CHECKING:
    from mobvibe_app.studio.state import BuildState

BUILD, PHONE, STREAM = "Build", "See it on the phone", "Read the stream"
MOVE, HOME = "Move about", "Services and people"
SECTIONS = (BUILD, PHONE, STREAM, MOVE, HOME)
DOWN, UP, ACCEPT, LEAVE = "j", "k", "enter", "escape"


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides which commands act now."""

    state: BuildState
    is_searching: bool = False
    is_typing: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """One or several keys, comma-separated, and what they do."""

    id: str
    keys: str
    section: str
    title: str
    help: str
    """Keys with the same text share a row of the help screen; without a text they are left out of it."""


@dataclass(frozen=True, slots=True)
class WidgetKey(Key):
    """A key that acts in one widget or dialog while that has the focus."""

    action: str
    in_footer: bool = True

    @property
    def binding(self) -> Binding:
        return Binding(self.keys, self.action, self.title, show=self.in_footer, id=self.id)


def _always(_: Situation) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Command(Key):
    """Something that a person can do from the main screen, by a key or from the palette."""

    does: str | StudioCommand
    """An action of the main screen (`zoom`) or of the app (`app.help`), or the command for the studio."""
    when: Callable[[Situation], bool] = _always
    footer: str = ""
    """Its word in the footer; empty to leave it out."""
    is_priority: bool = False
    """Whether its key also acts while a dialog is open."""

    @property
    def binding(self) -> Binding:
        """The key for Textual. It names the command by its id, so that `when` is asked in one place."""
        return Binding(
            self.keys,
            f"app.command('{self.id}')",
            self.footer or self.title,
            show=bool(self.footer),
            priority=self.is_priority,
            id=self.id,
        )


def _has_preview(now: Situation) -> bool:
    return now.state.preview is not None


def _has_job(now: Situation) -> bool:
    return now.state.is_job_unfinished


def _is_searching(now: Situation) -> bool:
    return now.is_searching


def _is_not_typing(now: Situation) -> bool:
    return not now.is_typing


def _is_own_view(now: Situation) -> bool:
    return now.state.viewed_as is None


def _is_other_view(now: Situation) -> bool:
    return now.state.viewed_as is not None


def _can_restart_preview(now: Situation) -> bool:
    return _is_own_view(now) and _has_preview(now)


_MATCHES = "after a search: the next and the previous match"
_ERRORS = "the next and the previous error"
_SWITCHES = "show or hide thoughts, wrapping, the clock"
_MOVES = "down, up, to the start"
_HALVES = "half a page down, half a page up"
_PANELS = "the panels"
_QUIT = "quit; a running job goes back to the queue"

# One row a command: id, keys, section, title, help, what it does. The footer keeps this order.
# fmt: off
COMMANDS = (
    Command("prompt", "i", BUILD, "Write a prompt", "write a prompt", "prompt", footer="Prompt"),
    Command("qr", "p", PHONE, "QR code", "the QR code, to scan with Expo Go", "toggle_qr", _has_preview, "QR"),
    Command("demos", "d", BUILD, "Replay a recorded build", "replay a recorded build: no key, no cost", "app.demos",
            footer="Demos"),
    Command("match.next", "n", STREAM, "Next match", _MATCHES, "next_match(1)", _is_searching, "Next match"),
    Command("match.previous", "N", STREAM, "Previous match", _MATCHES, "next_match(-1)", _is_searching),
    Command("new", "n", BUILD, "New app", "a prompt for a new app", "new_app", footer="New"),
    Command("search", "slash", STREAM, "Search the stream", "search", "search", _is_not_typing, "Search"),
    Command("cancel", "x", BUILD, "Cancel the job", "cancel the job (asks first)", "app.cancel", _has_job, "Cancel"),
    Command("zoom", "z", STREAM, "Zoom", "zoom the panel, and back", "zoom", footer="Zoom"),
    Command("follow", "G,end,f", STREAM, "Follow the stream", "go to the end and follow again", "follow"),
    Command("error.next", "e", STREAM, "Next error", _ERRORS, "next_error(1)"),
    Command("error.previous", "E", STREAM, "Previous error", _ERRORS, "next_error(-1)"),
    Command("thoughts", "t", STREAM, "Thoughts", _SWITCHES, "toggle_stream('thoughts')"),
    Command("wrap", "w", STREAM, "Wrapping", _SWITCHES, "toggle_stream('wrap')"),
    Command("clock", "h", STREAM, "Clock", _SWITCHES, "toggle_stream('clock')"),
    Command("qr.large", "v", PHONE, "Large QR code", "the QR code, larger; there: another rendering", "app.large_qr",
            _has_preview),
    Command("copy", "y", PHONE, "Copy the address", "copy the address, or what is selected", "app.copy_url"),
    Command("open", "o", PHONE, "Open in a browser", "open the web version in a browser", "app.open_web", _has_preview),
    Command("panel.1", "1", MOVE, "First panel", _PANELS, "panel(1)"),
    Command("panel.2", "2", MOVE, "Second panel", _PANELS, "panel(2)"),
    Command("panel.3", "3", MOVE, "Third panel", _PANELS, "panel(3)"),
    Command("panel.4", "4", MOVE, "Fourth panel", _PANELS, "panel(4)"),
    Command("panel.5", "5", MOVE, "Fifth panel", _PANELS, "panel(5)"),
    Command("back", LEAVE, MOVE, "Back", "one step back: zoom, search, new app, banner", "back"),
    Command("help", "question_mark", MOVE, "Help", "every key", "app.help", footer="Help"),
    Command("quit", "q", MOVE, "Quit", _QUIT, "app.quit", footer="Quit"),
    Command("quit.anywhere", "ctrl+q", MOVE, "Quit", _QUIT, "app.quit", is_priority=True),
    Command("interrupt", "ctrl+c", MOVE, "Copy or quit", "copy what is selected, else quit", "app.interrupt",
            is_priority=True),
    Command("preview.restart", "", HOME, "Restart the preview", "restart this app's Metro",
            RestartService("preview"), _can_restart_preview),
    Command("postgres.restart", "", HOME, "Restart Postgres", "restart Postgres; its rows and address stay",
            RestartService("postgres"), _is_own_view),
    Command("preview.rebuild", "", HOME, "Rebuild previews", "rebuild the image or the cache; takes minutes",
            RebuildService("preview"), _is_own_view),
    Command("view.own", "", HOME, "My own view", "leave this person's view", SeeAs(None), _is_other_view),
    Command("view.user", "", HOME, "View as a user", "view as a user, by row-level security", "app.see_as"),
)
_COMMANDS = {each.id: each for each in COMMANDS}
PROMPT_KEYS = (
    WidgetKey("prompt.send", ACCEPT, BUILD, "Send", "in the prompt: send it", "send"),
    WidgetKey("prompt.new_line", "ctrl+j,alt+enter,shift+enter", BUILD, "New line", "in the prompt: a new line",
              "new_line"),
    WidgetKey("prompt.platform", "ctrl+t", BUILD, "Phone or web", "in the prompt: for phones, or for browsers",
              "next_platform"),
    WidgetKey("prompt.leave", LEAVE, BUILD, "Leave", "in the prompt: leave it; the text stays", "leave"),
)
STREAM_KEYS = (
    WidgetKey("stream.down", DOWN, STREAM, "Down", _MOVES, "scroll_down", in_footer=False),
    WidgetKey("stream.up", UP, STREAM, "Up", _MOVES, "scroll_up", in_footer=False),
    WidgetKey("stream.start", "g", STREAM, "Start", _MOVES, "scroll_home", in_footer=False),
    WidgetKey("stream.half_down", "ctrl+d", STREAM, "Half a page down", _HALVES, "half_page(1)", in_footer=False),
    WidgetKey("stream.half_up", "ctrl+u", STREAM, "Half a page up", _HALVES, "half_page(-1)", in_footer=False),
)
SEARCH_KEYS = (
    WidgetKey("search.end", LEAVE, STREAM, "End the search", "", "leave"),
    WidgetKey("search.keep", ACCEPT, STREAM, "Keep the marks", "", "submit"),
)
LIST_KEYS = (
    WidgetKey("list.down", DOWN, MOVE, "Down", "", "cursor_down", in_footer=False),
    WidgetKey("list.up", UP, MOVE, "Up", "", "cursor_up", in_footer=False),
)
DEMO_KEYS = (WidgetKey("demo.replay", ACCEPT, BUILD, "Replay", "", "select"), *LIST_KEYS)
# The dialog with the code has its own use for the key that opened it.
QR_KEYS = (
    WidgetKey("qr.rendering", _COMMANDS["qr.large"].keys, PHONE, "Can't scan?", "", "next_rendering"),
    WidgetKey("qr.copy", f"{_COMMANDS['copy'].keys},c", PHONE, "Copy the address", "", "app.command('copy')"),
    WidgetKey("qr.open", _COMMANDS["open"].keys, PHONE, "Open in a browser", "", "app.command('open')"),
)
CONFIRM_KEYS = (
    WidgetKey("confirm.yes", f"y,{ACCEPT}", MOVE, "Yes", "", "answer(True)"),
    WidgetKey("confirm.no", f"{LEAVE},n", MOVE, "No", "", "answer(False)"),
)
# What Textual's own widgets bind.
TEXTUAL_KEYS = (
    Key("prompt.history", "up,down", BUILD, "Earlier prompts", "in the prompt: earlier prompts"),
    Key("mouse", "drag", STREAM, "Select", "with the mouse: select"),
    Key("panel.next", "tab", MOVE, "Next panel", "the next panel"),
    Key("session.show", ACCEPT, MOVE, "Show the session", "in Sessions: show that session"),
    Key("email.see", ACCEPT, HOME, "See", ""),
    Key("palette", "ctrl+p", MOVE, "Palette", "all commands, themes among them"),
)
# fmt: on
KEYS: tuple[Key, ...] = (
    *(*COMMANDS, *PROMPT_KEYS, *STREAM_KEYS, *SEARCH_KEYS),
    *(*DEMO_KEYS, *QR_KEYS, *CONFIRM_KEYS, *TEXTUAL_KEYS),
)
_BY_ID: dict[str, Key] = {each.id: each for each in KEYS}


def key(key_id: str) -> Key:
    return _BY_ID[key_id]


def command(command_id: str) -> Command:
    return _COMMANDS[command_id]


def shown_keys(key: Key) -> list[str]:
    """Each of its keys as a person reads it: `esc`, `/`, `ctrl+j`."""
    named = (each.split("+") for each in key.keys.split(",") if each)
    return ["+".join([*modifiers, format_key(name)]) for *modifiers, name in named]


def shown(key_id: str) -> str:
    """The first key of that id as a person reads it."""
    return shown_keys(_BY_ID[key_id])[0]


def bindings(keys: Iterable[Command | WidgetKey]) -> list[Binding]:
    """The bindings of those that have a key."""
    return [each.binding for each in keys if each.keys]


def closing(opened_by: str) -> Binding:
    """Closes a dialog: by the key that goes back, the one that opened it, or the one that quits."""
    keys = [_BY_ID[each].keys for each in ("back", opened_by, "quit")]
    return Binding(",".join(filter(None, keys)), "dismiss(None)", "Close")
