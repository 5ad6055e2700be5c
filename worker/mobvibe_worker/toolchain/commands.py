"""Where the checks' commands run: the seam between the checks and this machine, or a container that the app brings."""

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
    """A text that a command reads from a file: whoever runs it writes the file, and names its path in this place."""

    suffix: str
    text: str


Argument = str | PurePath | InputFile


class RunningCommand(Protocol):
    """A command that goes on until it is stopped."""

    @property
    def pid(self) -> int | None:
        """Its process group on this machine; None where it has none here."""
        ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """What it prints, errors included."""
        ...

    async def stop(self) -> int:
        """End it and all that it started; its exit code. Twice is harmless."""
        ...


class CommandRunner(Protocol):
    """Runs the toolchain's commands over one staged folder. An argv starts with `node`, whichever that is there."""

    @property
    def is_sandboxed(self) -> bool:
        """The commands cannot reach the network, nor this machine's files but the staged folder and the packages."""
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
        """Run a command to its end; it is ended after `time_limit` seconds, and when the caller is cancelled.

        Raises ServiceError where it could not run. A failing command is no error, see `exit_code`.
        """
        ...

    async def port(self) -> int:
        """A port on loopback that leads to what a command serves on the same number. Raises ServiceError."""
        ...

    async def serve(self, argv: Sequence[str | PurePath]) -> RunningCommand:
        """Start a command that goes on; only this machine reaches what it serves. Raises ServiceError."""
        ...

    async def close(self) -> None:
        """End what still runs. Twice is harmless."""
        ...
