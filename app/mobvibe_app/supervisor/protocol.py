"""What clients and the supervisor tell each other: JSON, one object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobvibe_worker.processes.launch import StopPolicy

PROTOCOL = 1
"""Grows when an older client could not talk to a newer supervisor."""
LONGEST_LINE = 1_000_000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A program to keep running. `facts` (a port, say) are handed to whoever asks for the same name later.

    `argv` is visible to every user of the machine, `env` is not: secrets belong in neither, but never in `argv`.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(repr=False)
    stop: StopPolicy = field(default_factory=StopPolicy)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return {**asdict(self), "cwd": str(self.cwd), "log": str(self.log)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ServiceSpec:
        """The spec that `to_data` wrote. Raises KeyError or TypeError for anything else."""
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
    """A service that runs. `already` says that it ran before this client asked for it; `started_at` is Unix time."""

    name: str
    pid: int
    facts: Mapping[str, Any]
    started_at: float
    already: bool = False


@dataclass(frozen=True, slots=True)
class ServiceExit:
    """A service ended: by itself, or because a client (or the last lease's end) stopped it (`was_asked`)."""

    name: str
    exit_code: int
    was_asked: bool


@dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """What runs, in order of start, for how many clients, and whether `hold` keeps it without any."""

    pid: int
    services: tuple[RunningService, ...]
    clients: int
    is_held: bool


def encode(message: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The object of one line. Raises ValueError for anything else."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message
