"""Rules beyond the table definitions: limits of text lengths and allowed changes of status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mobvibe_worker.errors import InputError
from mobvibe_worker.jobs import SessionStatus

Tier = Literal["free", "pro", "team", "local"]
ProjectStatus = Literal["active", "archived", "deleted"]
PreviewStatus = Literal["starting", "running", "stopped", "error"]

NAME_LIMIT = 200
DISPLAY_NAME_LIMIT = 100
DESCRIPTION_LIMIT = 4_000
SESSIONS_LIMIT: Mapping[Tier, int | None] = {"free": 3, "pro": 20, "team": 100, "local": None}
"""How many sessions may be open at once; None means no limit."""

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
    """Changes to a project; None leaves a value as it is. Raises InputError for too long texts."""

    name: str | None = None
    description: str | None = None
    expo_config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            checked(self.name, "name", NAME_LIMIT)
        checked(self.description or "", "description", DESCRIPTION_LIMIT, least=0)


@dataclass(frozen=True, slots=True)
class ProfileChanges:
    """Changes to a profile; None leaves a value as it is. A new tier also sets its limit of sessions."""

    display_name: str | None = None
    tier: Tier | None = None

    def __post_init__(self) -> None:
        checked(self.display_name or "", "display name", DISPLAY_NAME_LIMIT, least=0)


def checked(text: str, what: str, most: int, *, least: int = 1) -> str:
    """Return the text. Raises InputError if it is too long or too short."""
    if len(text.strip()) < least or len(text) > most:
        raise InputError(
            f"The {what} has {len(text):,} characters; {least} to {most:,} are allowed.",
            "Shorten it." if len(text) > most else f"Give a {what}.",
        )
    return text


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
