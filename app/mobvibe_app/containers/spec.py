"""What a container is made of, as values that do not depend on the SDK."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

HOME_LABEL = "dev.mobvibe.home"
"""The id of the home that created it; `down --all` removes by it."""
SERVICE_LABEL = "dev.mobvibe.service"
SPEC_LABEL = "dev.mobvibe.spec"
PROJECT_PLACE = "/srv/app"
"""The folder of the project in a container of the Expo image."""
_ORDINARY_USER = 1000
_PROJECT_PROCESSES = 256


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


def project_container(
    name: str,
    image: str,
    folder: Path,
    *,
    home_id: str,
    service: str,
    command: tuple[str, ...],
    network: str,
    memory_bytes: int,
    ports: tuple[PublishedPort, ...] = (),
) -> ContainerSpec:
    """A container of the Expo image that may read one project's folder and use memory of its own.

    The folder needs an `.expo` in it as the mount point of one in memory, because it is mounted read-only.
    """
    user = os.geteuid() or _ORDINARY_USER
    return ContainerSpec(
        name=name,
        image=image,
        labels={HOME_LABEL: home_id, SERVICE_LABEL: service},
        command=command,
        user=f"{user}:{user}",
        mounts=(Mount(str(folder.resolve()), PROJECT_PLACE, is_read_only=True),),
        temporary={"/tmp": "mode=1777", f"{PROJECT_PLACE}/.expo": f"uid={user},mode=700"},
        ports=ports,
        network=network,
        is_read_only=True,
        memory_bytes=memory_bytes,
        cpus=float(min(2, os.cpu_count() or 1)),
        processes=_PROJECT_PROCESSES,
    )
