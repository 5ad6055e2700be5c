"""Previews on this machine: one Metro per project under the home's supervisor, each on its remembered port."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from mobvibe_app.preview.events import new_mark, printed_lines
from mobvibe_app.preview.facts import Usage
from mobvibe_app.preview.log import PreviewLog
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ported import PortedService, WantedPort
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Provider
from mobvibe_worker.processes.locks import held
from mobvibe_worker.toolchain.metro import MetroClient, last_words
from mobvibe_worker.toolchain.sdks import Sdk
from mobvibe_worker.workspace.metro_view import MetroView
from mobvibe_worker.workspace.publish import ServedFolder

FIRST_PORT = 8081
_EVERY_ADDRESS = "0.0.0.0"
_READY_SECONDS = 120.0
_PORT_TAKEN = re.compile(r"Port \d+ is|EADDRINUSE|port is taken")


@dataclass(frozen=True, slots=True)
class ServedPreview:
    """A Metro that answers: `metro_url` is http://ADDRESS:PORT as a phone reaches it, `pid` its process group."""

    port: int
    metro_url: str
    pid: int


@dataclass(frozen=True, slots=True)
class RunningPreview:
    """A preview that the supervisor runs now. `started_at` is Unix time."""

    name: str
    slug: str
    sdk: int
    mode: str
    port: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Serving:
    """One start of a project's Metro. Its events are the lines of its log that begin with `mark`.

    `address` is this machine's for phones. `log_offset` is the log's size before the start, in bytes.
    """

    slug: str
    served: Path
    port: int
    address: str
    mark: str
    log_offset: int


class PreviewService(ABC):
    """The previews of one home and SDK. They run for as long as a lease on the supervisor is held."""

    mode: ClassVar[Provider]

    def __init__(self, home: Home, supervisor: Supervisor, sdk: Sdk) -> None:
        self._home = home
        self._supervisor = supervisor
        self._sdk = sdk
        self._folder = home.sdk(sdk.version)

    @abstractmethod
    async def launch(self, serving: Serving) -> RunningService:
        """Start the service that serves a folder. It may not answer yet. Raises ServiceError, PortTaken."""

    async def has_port(self, running: RunningService) -> bool:
        """Whether this preview listens on its port, and not another program that was faster."""
        return True

    @abstractmethod
    async def usage(self, project_slug: str) -> Usage | None:
        """What the project's preview uses now; None if none runs. Raises ServiceError."""

    def facts(self, serving: Serving) -> dict[str, Any]:
        """What the supervisor remembers about the preview for its clients."""
        return {
            "port": serving.port,
            "sdk": self._sdk.version,
            "project": serving.slug,
            "mode": self.mode,
            "mark": serving.mark,
            "log_offset": serving.log_offset,
            "is_open": self.is_open(serving.address),
        }

    def is_open(self, address: str) -> bool:
        """Whether a preview started for `address` listens on more than loopback; a process always does."""
        return True

    async def events(self, project_slug: str) -> PreviewLog | None:
        """The events of the project's running Metro since its start; None if none runs."""
        running = await self._supervisor.running(service_name(project_slug))
        if running is None or "mark" not in running.facts:
            return None
        facts = running.facts
        return PreviewLog(self.log(project_slug), facts["mark"], facts["log_offset"])

    def log(self, project_slug: str) -> Path:
        return self._home.logs / f"{service_name(project_slug)}.log"

    async def start(
        self, project_slug: str, *, address: str, port: int | None = None
    ) -> ServedPreview:
        """Serve the project's served folder, by the Metro that runs already if there is one. Returns when it is ready.

        `address` is this machine's for phones. `port` is fixed by the person; without it the project's last one
        is used, or the next that is free. Raises ServiceError: the port is taken, or Metro ended.
        """
        name = service_name(project_slug)
        async with held(self._home.run / f"start-{project_slug}.lock"):
            present = await self._supervisor.running(name)
            is_replaced = self._served(project_slug).is_replaced
            if present is not None and (is_replaced or self._is_other(present, port, address)):
                await self._supervisor.stop(name)
            running = await self._service(project_slug, address, port).start()
            chosen = running.facts["port"]
            await _require_ours(chosen, address)
            self._served(project_slug).served_on(chosen)
            return ServedPreview(chosen, f"http://{address}:{chosen}", running.pid)

    async def stop(self, project_slug: str) -> None:
        """End the project's Metro and all that it started. Idempotent."""
        await self._supervisor.stop(service_name(project_slug))
        self._served(project_slug).served_on(None)

    async def ended(self, project_slug: str) -> ServiceError | None:
        """Wait until the project's Metro ends, and return why; None if it was stopped on purpose."""
        name = service_name(project_slug)
        exits = self._supervisor.exits()
        if await self._supervisor.running(name) is None:
            return None
        exit_ = await exits.end_of(name)
        if exit_ is None or exit_.was_asked:
            return None
        return self._failure(project_slug, "ended", ServiceLog(self.log(project_slug)).tail(0))

    def _is_other(self, running: RunningService, port: int | None, address: str) -> bool:
        """Whether it runs in another way than the one asked for."""
        is_moved = port not in (None, running.facts["port"])
        is_older = "mark" not in running.facts  # An earlier version of this program started it.
        # Started without a network, or for this machine alone, it listens on loopback only.
        is_elsewhere = running.facts.get("is_open") != self.is_open(address)
        return is_moved or is_older or is_elsewhere or running.facts.get("mode") != self.mode

    def _service(self, project_slug: str, address: str, port: int | None) -> PortedService:
        name = service_name(project_slug)
        return PortedService(
            supervisor=self._supervisor,
            name=name,
            log=ServiceLog(self.log(project_slug)),
            port=WantedPort(
                choices=Choices(self._home.choices),
                key=name,
                title="the preview",
                lowest=FIRST_PORT,
                fixed=port,
                address=_EVERY_ADDRESS,
            ),
            launch=lambda port, size: self.launch(
                self._prepared(project_slug, port, address, size)
            ),
            is_ready=self._is_ready,
            # Without a terminal, Expo ends instead of offering another port.
            is_port_taken=lambda printed: _PORT_TAKEN.search(printed) is not None,
            failure=partial(self._failure, project_slug),
            ready_seconds=_READY_SECONDS,
            is_stopped_when_late=True,
        )

    async def _is_ready(self, running: RunningService, _: int) -> bool:
        async with MetroClient(running.facts["port"]) as client:
            return await client.is_running() and await self.has_port(running)

    def _prepared(self, project_slug: str, port: int, address: str, log_offset: int) -> Serving:
        served = self._folder.served(project_slug)
        served.mkdir(parents=True, exist_ok=True)
        MetroView(served, port).write_marker()
        return Serving(project_slug, served, port, address, new_mark(), log_offset)

    def _served(self, project_slug: str) -> ServedFolder:
        return ServedFolder(self._folder.served(project_slug))

    def _failure(self, project_slug: str, how: str, printed: str) -> ServiceError:
        words = last_words("\n".join(printed_lines(printed)))
        return ServiceError(
            f"The preview of {project_slug} {how}: {words}",
            f"See {self.log(project_slug)}, then open the preview again.",
        )


def service_name(project_slug: str) -> str:
    return f"preview-{project_slug}"


async def running_previews(supervisor: Supervisor) -> list[RunningPreview]:
    """The previews that run in a home now, in order of start. Raises ServiceError."""
    return [
        RunningPreview(
            name=service.name,
            slug=service.facts["project"],
            sdk=service.facts["sdk"],
            mode=service.facts["mode"],
            port=service.facts["port"],
            started_at=service.started_at,
        )
        for service in (await supervisor.status()).services
        if service.name.startswith(service_name(""))
    ]


async def _require_ours(port: int, address: str) -> None:
    asked_as = f"{address}:{port}"
    async with MetroClient(port) as client:
        manifest = await client.manifest("ios", asked_as=asked_as)
    if manifest.host != asked_as:
        raise ServiceError(
            f"What answers on port {port} is not this preview.",
            "End the other program, or set another port.",
        )
