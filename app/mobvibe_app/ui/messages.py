"""The messages that cross widgets, screens and the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.message import Message

from mobvibe_app.studio.changes import Change
from mobvibe_app.studio.commands import Command
from mobvibe_worker.jobs import SessionId


@dataclass
class ChangeArrived(Message):
    """The studio yielded a change."""

    change: Change


@dataclass
class CommandGiven(Message):
    """The person wants the studio to do this; `on_done` is called if it was not refused."""

    command: Command
    on_done: Callable[[], None] | None = None


class ScreenReady(Message):
    """The main screen is painted and can show changes."""


@dataclass
class PromptSubmitted(Message):
    """The person sent a prompt; the box keeps its text until the studio has accepted it."""

    text: str


class PromptResized(Message):
    """The prompt box has another number of rows."""


class PlatformChosen(Message):
    """The prompt box is for another platform."""


@dataclass
class DemoChosen(Message):
    """The person chose a recording to replay."""

    name: str


@dataclass
class SessionChosen(Message):
    """The person chose a session to look at."""

    session_id: SessionId


@dataclass
class SearchChanged(Message):
    """The person searches the stream for this text; an empty text ends the search."""

    text: str
    is_final: bool = False


@dataclass
class PanelChosen(Message):
    """The person clicked a tab of the narrow layout."""

    panel: str
