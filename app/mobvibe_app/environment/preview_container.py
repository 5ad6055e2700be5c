"""Previews as containers: one per project, sealed off, only its served folder mounted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from mobvibe_app.environment.container_keeper import keeper_spec
from mobvibe_app.environment.container_spec import (
    HOME_LABEL,
    SERVICE_LABEL,
    ContainerSpec,
    Mount,
    PublishedPort,
)
from mobvibe_app.environment.docker_engine import DockerEngine
from mobvibe_app.environment.network import is_reachable
from mobvibe_app.environment.preview_service import PreviewService, service_name
from mobvibe_app.environment.supervisor.client import Supervisor
from mobvibe_app.environment.supervisor.protocol import ServiceSpec
from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.sdks import Sdk

MEMORY_BYTES = 1_500_000_000
PROCESSES = 256
_PROJECT = "/srv/app"
_STOP_SECONDS = 2
_ORDINARY_USER = 1000


class ContainerPreview(PreviewService):
    """The previews of one home and SDK, in containers of `image`."""

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
    ) -> None:
        super().__init__(home, supervisor, sdk)
        self._engine = engine
        self._home_id = home_id
        self._image = image

    async def spec(self, project_slug: str, served: Path, port: int, host: str) -> ServiceSpec:
        """A new container, made and not started: the service starts it, and removes it when it ends."""
        container = self.container(project_slug, served, port, host)
        # The place of the folder in memory must be there, as the project itself cannot be written.
        (served / ".expo").mkdir(exist_ok=True)
        labels = {HOME_LABEL: self._home_id}
        await asyncio.to_thread(self._engine.ensure_network, str(container.network), labels)
        await asyncio.to_thread(self._engine.create, container)
        return keeper_spec(
            service_name(project_slug),
            container.name,
            log=self.log(project_slug),
            stop_seconds=_STOP_SECONDS,
            is_disposable=True,
            facts=self.facts(project_slug, port),
        )

    def container(self, project_slug: str, served: Path, port: int, host: str) -> ContainerSpec:
        """What the container may do: read the served folder, listen on one port, use memory of its own."""
        user = os.geteuid() or _ORDINARY_USER
        return ContainerSpec(
            name=f"mobvibe-{self._home_id}-{service_name(project_slug)}",
            image=self._image,
            labels={HOME_LABEL: self._home_id, SERVICE_LABEL: service_name(project_slug)},
            command=(
                *("node", "/srv/node_modules/expo/bin/cli"),
                *("start", "--lan", "--port", str(port)),
            ),
            user=f"{user}:{user}",
            mounts=(Mount(str(served.resolve()), _PROJECT, is_read_only=True),),
            temporary={"/tmp": "mode=1777", f"{_PROJECT}/.expo": f"uid={user},mode=700"},
            ports=(PublishedPort(port, port, "0.0.0.0" if is_reachable(host) else "127.0.0.1"),),
            network=f"mobvibe-{self._home_id}",
            is_read_only=True,
            memory_bytes=MEMORY_BYTES,
            cpus=float(min(2, os.cpu_count() or 1)),
            processes=PROCESSES,
        )

    async def remove_strays(self) -> tuple[str, ...]:
        """Remove containers of previews that no service keeps any more: theirs was killed. Their names."""
        kept = {service.name for service in (await self._supervisor.status()).services}
        strays = [
            found.name
            for found in await asyncio.to_thread(self._engine.labelled, self._home_id)
            if found.labels.get(SERVICE_LABEL, "").startswith(service_name(""))
            and found.labels[SERVICE_LABEL] not in kept
        ]
        for name in strays:
            await asyncio.to_thread(self._engine.remove, name)
        return tuple(strays)
