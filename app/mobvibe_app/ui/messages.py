"""The messages that cross widgets and screens."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from mobvibe_app.studio.changes import Change
from mobvibe_worker.jobs import SessionId


@dataclass
class ChangeArrived(Message):
    """The studio yielded a change."""

    change: Change


@dataclass
class PromptSubmitted(Message):
    """The person sent a prompt; the box keeps its text until the studio took it."""

    text: str


@dataclass
class PromptResized(Message):
    """The prompt box takes another number of rows now."""


@dataclass
class PlatformChosen(Message):
    """The prompt box is for another platform now."""


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
    """The person searches the stream for this text; empty when the search is over."""

    text: str
    is_final: bool = False


@dataclass
class PanelChosen(Message):
    """The person clicked a tab of the narrow layout."""

    panel: str
