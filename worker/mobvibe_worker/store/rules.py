"""The words of statuses and tiers, and limits that are checked before the database is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mobvibe_worker.errors import InputError

Tier = Literal["free", "pro", "team", "local"]
ProjectStatus = Literal["active", "archived", "deleted"]
PreviewStatus = Literal["starting", "running", "stopped", "error"]

NAME_LIMIT = 200
SESSIONS_LIMIT: Mapping[Tier, int | None] = {"free": 3, "pro": 20, "team": 100, "local": None}
"""How many sessions may be open at once; None means no limit."""


def checked(text: str, what: str, most: int, *, least: int = 1) -> str:
    """Return the text. Raises InputError if it is too long or too short."""
    if len(text.strip()) < least or len(text) > most:
        raise InputError(
            f"The {what} has {len(text):,} characters; {least} to {most:,} are allowed.",
            "Shorten it." if len(text) > most else f"Give a {what}.",
        )
    return text
