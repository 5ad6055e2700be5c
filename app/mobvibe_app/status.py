"""What a service reports about itself: a name, a state, a detail and, when it fails, what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ServiceName = Literal["postgres", "worker", "starter", "preview"]
ServiceState = Literal[
    "waiting", "downloading", "building", "starting", "healthy", "failed", "stopped"
]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service of the environment. `progress` is 0..1 if known, the bytes are of a download."""

    name: ServiceName
    state: ServiceState
    detail: str = ""
    remedy: str = ""
    progress: float | None = None
    port: int | None = None
    got_bytes: int | None = None
    all_bytes: int | None = None
    project: str = ""
    """The slug of the project whose preview this is; empty for all of a home's previews."""
    can_start_again: bool = False
    """Whether a person can start this preview again, which ended or was stopped."""


OnStatus = Callable[[ServiceStatus], None]
