"""The interface for running the checks' commands, on this machine or in a container that the app provides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mobvibe_worker.processes.guarded import Finished


@dataclass(frozen=True, slots=True)
class InputFile:
    """A text that a command reads from a file. The runner writes the file, and puts its path in this place."""

    suffix: str
    text: str


Argument = str | PurePath | InputFile


class RunningCommand(Protocol):
    """A command that runs until it is stopped."""

    @property
    def pid(self) -> int | None:
        """Its process group; None if it does not run on this machine."""
        ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Its output, including stderr."""
        ...

    async def stop(self) -> int:
        """End it and its descendants; returns its exit code. Idempotent."""
        ...


class CommandRunner(Protocol):
    """Runs the toolchain's commands on one staged folder. An argv starts with `node`, which the runner replaces."""

    @property
    def is_sandboxed(self) -> bool:
        """Whether commands are cut off from the network, and from files other than the project and the packages."""
        ...

    @property
    def project(self) -> PurePath:
        """The staged folder, as a command sees it."""
        ...

    @property
    def modules(self) -> PurePath:
        """The SDK's packages, as a command sees them."""
        ...

    async def run(self, argv: Sequence[Argument], *, time_limit: float) -> Finished:
        """Run a command until it ends. It is stopped after `time_limit` seconds, and when the caller is cancelled.

        Raises ServiceError if it could not run. A failing command is not an error, see `exit_code`.
        """
        ...

    async def port(self) -> int:
        """A free loopback port that reaches a command which listens on the same number. Raises ServiceError."""
        ...

    async def serve(self, argv: Sequence[str | PurePath]) -> RunningCommand:
        """Start a command that keeps running and is reachable only from this machine. Raises ServiceError."""
        ...

    async def close(self) -> None:
        """End all running commands. Idempotent."""
        ...
