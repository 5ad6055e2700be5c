"""The product's rules on top of the generated rows: how long texts may be, which status may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mobvibe_worker.errors import InputError
from mobvibe_worker.jobs import SessionStatus

Tier = Literal["free", "pro", "team", "local"]
ProjectStatus = Literal["active", "archived", "deleted"]
PreviewProvider = Literal["docker", "process", "railway"]
PreviewStatus = Literal["starting", "running", "stopped", "error"]

NAME_LIMIT = 200
DISPLAY_NAME_LIMIT = 100
DESCRIPTION_LIMIT = 4_000
SESSIONS_LIMIT: Mapping[Tier, int | None] = {"free": 3, "pro": 20, "team": 100, "local": None}
"""How many sessions may be open at once; None is no limit."""

PROJECT_CHANGES: Mapping[ProjectStatus, frozenset[ProjectStatus]] = {
    "active": frozenset({"archived", "deleted"}),
    "archived": frozenset({"active", "deleted"}),
    "deleted": frozenset({"active"}),
}
SESSION_CHANGES: Mapping[SessionStatus, frozenset[SessionStatus]] = {
    "pending": frozenset({"active", "failed", "expired"}),
    "active": frozenset({"paused", "completed", "failed", "expired"}),
    "paused": frozenset({"active", "completed", "expired"}),
    "completed": frozenset({"active"}),
    "failed": frozenset({"active", "expired"}),
    "expired": frozenset({"active"}),
}


@dataclass(frozen=True, slots=True)
class ProjectChanges:
    """What a person may change of a project; None leaves it as it is. Raises InputError for what is too long."""

    name: str | None = None
    description: str | None = None
    expo_config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            checked(self.name, "name", NAME_LIMIT)
        checked(self.description or "", "description", DESCRIPTION_LIMIT, least=0)


@dataclass(frozen=True, slots=True)
class ProfileChanges:
    """What may change of a profile; None leaves it as it is. A new tier brings its limit of sessions along."""

    display_name: str | None = None
    tier: Tier | None = None

    def __post_init__(self) -> None:
        checked(self.display_name or "", "display name", DISPLAY_NAME_LIMIT, least=0)


def checked(text: str, what: str, most: int, *, least: int = 1) -> str:
    """The text. Raises InputError when it is blank where it must not be, or too long."""
    if len(text.strip()) < least or len(text) > most:
        raise InputError(
            f"The {what} has {len(text):,} characters; it may have {least} to {most:,}.",
            "Shorten it." if len(text) > most else f"Give a {what}.",
        )
    return text


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
