"""The address of a running preview: the URL in its QR code, and which app opens it."""

from __future__ import annotations

from dataclasses import dataclass

from mobvibe_worker.jobs import Platform, Provider, SessionId


@dataclass(frozen=True, slots=True)
class PreviewAddress:
    """Where a project is served. `url` is what the QR code holds; `expo_go` says in words what opens it."""

    session_id: SessionId
    url: str
    sdk: int
    expo_go: str
    metro_url: str
    mode: Provider = "process"
    slug: str = ""
    """The project's."""
    platform: Platform = "mobile"
