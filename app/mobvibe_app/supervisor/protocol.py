"""The messages between clients and the supervisor: JSON, one object per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobvibe_worker.processes.guarded import StopPolicy

PROTOCOL = 1
"""Grows when older clients and newer supervisors become incompatible."""
LONGEST_LINE = 1_000_000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A program to keep running. Its `facts`, such as a port, are given to every client that asks for its name.

    Never put secrets into `argv`, which every user of the machine can see; better not into `env` either.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(repr=False)
    stop: StopPolicy = field(default_factory=StopPolicy)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        return {**asdict(self), "cwd": str(self.cwd), "log": str(self.log)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ServiceSpec:
        """The spec that `to_data` wrote. Raises KeyError or TypeError if the data is anything else."""
        return cls(
            name=data["name"],
            argv=tuple(data["argv"]),
            cwd=Path(data["cwd"]),
            log=Path(data["log"]),
            env=data["env"],
            stop=StopPolicy(**data["stop"]),
            facts=data["facts"],
        )


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that runs. `already` means that it ran before this client asked; `started_at` is Unix time."""

    name: str
    pid: int
    facts: Mapping[str, Any]
    started_at: float
    already: bool = False


@dataclass(frozen=True, slots=True)
class ServiceExit:
    """A service ended, by itself, or (`was_asked`) stopped by a client or with the last lease."""

    name: str
    exit_code: int
    was_asked: bool


@dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """What runs, in order of start, for how many clients, and whether `hold` keeps it running without them."""

    pid: int
    services: tuple[RunningService, ...]
    clients: int
    is_held: bool


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The object of one line. Raises ValueError if the line is anything else."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message
