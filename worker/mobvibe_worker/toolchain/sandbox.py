"""Opens the command runner of one staged folder: in a sandbox if one is available, otherwise on this machine."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.toolchain.commands import CommandRunner
from mobvibe_worker.toolchain.local_commands import LocalCommands

if TYPE_CHECKING:
    from mobvibe_worker.toolchain.starter import Starter

log = logging.getLogger(__name__)


class Sandbox(Protocol):
    """Opens sandboxed runners. The app provides one; a worker by itself has none."""

    @property
    def is_required(self) -> bool:
        """Whether checks may only run in the sandbox."""
        ...

    async def open(self, staged: Path, starter: Starter) -> CommandRunner:
        """Open a runner for that staged folder. Raises ServiceError if the sandbox cannot be used."""
        ...


class StagedCommands:
    """The runner that all checks of a staged folder share. It opens while the model thinks."""

    def __init__(self, staged: Path, starter: Starter, sandbox: Sandbox | None = None) -> None:
        self._staged = staged
        self._starter = starter
        self._sandbox = sandbox
        self._opening: asyncio.Task[CommandRunner] | None = None

    async def __aenter__(self) -> Self:
        self._opening = asyncio.create_task(self._open(), name="open the checks' runner")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._opening is not None
        opening = self._opening
        opening.cancel()
        try:
            await asyncio.wait({opening})
        finally:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()

    async def runner(self) -> CommandRunner:
        """Wait for the runner. Raises ServiceError if a sandbox is required and does not open."""
        assert self._opening is not None
        return await asyncio.shield(self._opening)

    async def _open(self) -> CommandRunner:
        if self._sandbox is not None:
            try:
                return await self._sandbox.open(self._staged, self._starter)
            except ServiceError as error:
                if self._sandbox.is_required:
                    raise _cannot_sandbox(error) from error
                log.warning("the checks run unsandboxed: %s", error)
        return LocalCommands(self._staged, self._starter.folder, self._starter.node)


def _cannot_sandbox(error: ServiceError) -> ServiceError:
    return ServiceError(
        f"The checks cannot be sandboxed: {error.message}",
        f"{error.remedy} Or set MOBVIBE_CHECKS=process to run them on this machine without a sandbox.",
    )
