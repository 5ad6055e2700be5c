"""Isolates the worker's checks in containers of the Expo image, if this machine has an engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mobvibe_app.checks.container import CheckImage, ContainerCommands
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.toolchain.starter import Starter

RETRY_SECONDS = 300.0
"""How long the last failure is reported again without a new attempt, because a pull without a network takes minutes."""

ImageFor = Callable[[Starter], Awaitable[CheckImage]]
"""The engine's image of a starter's SDK, built if it is missing. Raises ServiceError."""


class CheckSandbox:
    """Opens one container for each staged folder."""

    def __init__(self, image_for: ImageFor, *, is_required: bool) -> None:
        self.is_required = is_required
        self._image_for = image_for
        self._failed: tuple[float, ServiceError] | None = None

    async def open(self, staged: Path, starter: Starter) -> ContainerCommands:
        """Start a container for a staged folder. Raises ServiceError."""
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise self._failed[1]
        try:
            commands = ContainerCommands(await self._image_for(starter), staged)
            try:
                await commands.open()
            except (ServiceError, asyncio.CancelledError):
                await commands.close()
                raise
        except ServiceError as error:
            self._failed = time.monotonic() + RETRY_SECONDS, error
            raise
        self._failed = None
        return commands
