"""Previews as processes: Node and the SDK's packages of this machine."""

from __future__ import annotations

from pathlib import Path

from mobvibe_app.environment.preview_service import PreviewService, service_name
from mobvibe_app.environment.supervisor.client import Supervisor
from mobvibe_app.environment.supervisor.protocol import ServiceSpec
from mobvibe_worker.home import Home
from mobvibe_worker.processes.launch import StopPolicy
from mobvibe_worker.toolchain.metro import metro_argv, metro_environment
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.toolchain.sdks import Sdk

_STOP = StopPolicy(grace=2.0)


class ProcessPreview(PreviewService):
    """The previews of one home and SDK. They run for as long as a lease on the supervisor is held."""

    mode = "process"

    def __init__(self, home: Home, supervisor: Supervisor, node: Node, sdk: Sdk) -> None:
        super().__init__(home, supervisor, sdk)
        self._node = node

    async def spec(self, project_slug: str, served: Path, port: int, host: str) -> ServiceSpec:
        """Metro over the served folder, on every address of this machine."""
        return ServiceSpec(
            service_name(project_slug),
            metro_argv(self._node, self._folder, port),
            cwd=served,
            log=self.log(project_slug),
            env=metro_environment(self._node, self._folder),
            stop=_STOP,
            facts={"mode": self.mode, **self.facts(project_slug, port)},
        )
