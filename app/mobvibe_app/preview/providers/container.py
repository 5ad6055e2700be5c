"""Previews as containers, one per project, isolated, with only the served folder mounted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import PurePosixPath

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.keeper import keeper_spec
from mobvibe_app.containers.spec import (
    HOME_LABEL,
    SERVICE_LABEL,
    ContainerSpec,
    PublishedPort,
    project_container,
)
from mobvibe_app.preview.events import watch_arguments
from mobvibe_app.preview.facts import Usage
from mobvibe_app.preview.network import is_reachable
from mobvibe_app.preview.providers.extra_packages import ExtraPackages
from mobvibe_app.preview.providers.local import (
    PreviewService,
    Serving,
    running_previews,
    service_name,
)
from mobvibe_app.preview.providers.usage import CpuMeter
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.locks import held
from mobvibe_worker.toolchain.metro import NODE_FLAGS, dev_server
from mobvibe_worker.toolchain.sdks import Sdk

MEMORY_BYTES = 1_500_000_000
_STOP_SECONDS = 2
_MODULES = PurePosixPath("/srv/node_modules")


class ContainerPreview(PreviewService):
    """The previews of one home and SDK, in containers of `image` and of the layers that projects add to it."""

    mode = "docker"

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        sdk: Sdk,
        engine: DockerEngine,
        *,
        home_id: str,
        image: str,
        extra: ExtraPackages | None = None,
    ) -> None:
        super().__init__(home, supervisor, sdk)
        self._engine = engine
        self._home_id = home_id
        self._image = image
        self._extra = extra
        self._cpu = CpuMeter()

    async def launch(self, serving: Serving) -> RunningService:
        """Start a new container while its keeper starts. The keeper also removes it when it ends."""
        container = await self._with_packages(self.container(serving), serving)
        (serving.served / ".expo").mkdir(exist_ok=True)
        # Older engines create a second network of the same name, and then find neither by it.
        async with held(self._home.run / "network.lock"):
            labels = {HOME_LABEL: self._home_id}
            network = str(container.network)
            await asyncio.to_thread(self._engine.ensure_network, network, labels)
        await asyncio.to_thread(self._engine.create, container)
        keeper = keeper_spec(
            service_name(serving.slug),
            container.name,
            log=self.log(serving.slug),
            stop_seconds=_STOP_SECONDS,
            is_disposable=True,
            facts=self.facts(serving),
            since=time.time(),
        )
        started = asyncio.create_task(asyncio.to_thread(self._engine.start, container.name))
        try:
            running = await self._supervisor.start(keeper)
            await started
        except ServiceError:
            await asyncio.gather(started, return_exceptions=True)
            await self._supervisor.stop(keeper.name)
            raise
        return running

    async def _with_packages(self, container: ContainerSpec, serving: Serving) -> ContainerSpec:
        """The container from an image that also has the project's own packages, if it names any."""
        if self._extra is None:
            return container
        return replace(container, image=await self._extra.image(container.image, serving.served))

    def is_open(self, address: str) -> bool:
        return is_reachable(address)

    async def usage(self, project_slug: str) -> Usage | None:
        """What the engine counts for the project's container."""
        name = self._name(project_slug)
        counters = await asyncio.to_thread(self._engine.counters, name)
        if counters is None:
            return None
        cpu = self._cpu.percent(project_slug, counters.started_at, counters.cpu_seconds)
        return Usage(cpu, counters.memory_bytes, counters.received_bytes, counters.sent_bytes)

    def _name(self, project_slug: str) -> str:
        return f"mobvibe-{self._home_id}-{service_name(project_slug)}"

    def container(self, serving: Serving) -> ContainerSpec:
        """The container. It may read the served folder, listen on one port, and use memory of its own."""
        port, address = serving.port, "0.0.0.0" if self.is_open(serving.address) else "127.0.0.1"
        return project_container(
            self._name(serving.slug),
            self._image,
            serving.served,
            home_id=self._home_id,
            service=service_name(serving.slug),
            command=(
                *("node", *NODE_FLAGS, *watch_arguments(serving.mark)),
                *dev_server(_MODULES, port),
            ),
            network=f"mobvibe-{self._home_id}",
            memory_bytes=MEMORY_BYTES,
            ports=(PublishedPort(port, port, address),),
        )

    async def remove_strays(self) -> tuple[str, ...]:
        """Remove preview containers whose keeper was killed; returns their names."""
        kept = {preview.name for preview in await running_previews(self._supervisor)}
        strays = [
            found.name
            for found in await asyncio.to_thread(self._engine.labelled, self._home_id)
            if found.labels.get(SERVICE_LABEL, "").startswith(service_name(""))
            and found.labels[SERVICE_LABEL] not in kept
        ]
        for name in strays:
            await asyncio.to_thread(self._engine.remove, name)
        return tuple(strays)
