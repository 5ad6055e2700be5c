"""What a container is made of, as values that do not depend on the SDK."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

HOME_LABEL = "dev.mobvibe.home"
"""The id of the home that created it; `down --all` removes by it."""
SERVICE_LABEL = "dev.mobvibe.service"
SPEC_LABEL = "dev.mobvibe.spec"


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of this machine, or a named volume, at a place in the container."""

    source: str
    target: str
    kind: Literal["bind", "volume"] = "bind"
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the container, published on one address of this machine."""

    inside: int
    outside: int
    address: str


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container and everything that it may do."""

    name: str
    image: str
    labels: Mapping[str, str]
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Anyone who reaches the engine can read it, so no secrets."""
    user: str | None = None
    mounts: tuple[Mount, ...] = ()
    temporary: Mapping[str, str] = field(default_factory=dict)
    """Folders in memory, with their mount options."""
    ports: tuple[PublishedPort, ...] = ()
    network: str | None = None
    capabilities: tuple[str, ...] = ()
    """The only ones that are not dropped."""
    is_read_only: bool = False
    has_init: bool = True
    """The engine's own first process passes signals on. As root without the right to signal it would die of one."""
    memory_bytes: int | None = None
    cpus: float | None = None
    processes: int | None = None

    @property
    def fingerprint(self) -> str:
        """Differs for every different specification."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FoundContainer:
    """A container as the engine has it now."""

    id: str
    name: str
    status: str
    """created, running, restarting, exited, ..."""
    labels: Mapping[str, str]

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.status == "running"


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove_labelled` removed, by name."""

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.volumes or self.images)
