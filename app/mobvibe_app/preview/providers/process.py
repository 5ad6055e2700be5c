"""Previews as processes, with this machine's Node and the SDK's packages."""

from __future__ import annotations

import asyncio

from mobvibe_app.preview.events import watch_arguments
from mobvibe_app.preview.facts import Usage
from mobvibe_app.preview.providers.local import PreviewService, Serving, service_name
from mobvibe_app.preview.providers.usage import CpuMeter, measure_tree
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ports import is_listening
from mobvibe_app.supervisor.protocol import RunningService, ServiceSpec
from mobvibe_worker.home import Home
from mobvibe_worker.processes.guarded import StopPolicy
from mobvibe_worker.toolchain.metro import NODE_FLAGS, dev_server, metro_environment
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.toolchain.sdks import Sdk

_STOP = StopPolicy(grace=2.0)


class ProcessPreview(PreviewService):
    """The previews of one home and SDK. They run for as long as a lease on the supervisor is held."""

    mode = "process"

    def __init__(self, home: Home, supervisor: Supervisor, node: Node, sdk: Sdk) -> None:
        super().__init__(home, supervisor, sdk)
        self._node = node
        self._cpu = CpuMeter()

    async def launch(self, serving: Serving) -> RunningService:
        """Start Metro on the served folder, on every address of this machine."""
        spec = ServiceSpec(
            service_name(serving.slug),
            (
                *(str(self._node.executable), *NODE_FLAGS, *watch_arguments(serving.mark)),
                *dev_server(self._folder.modules, serving.port),
            ),
            cwd=serving.served,
            log=self.log(serving.slug),
            env=metro_environment(self._node, self._folder),
            stop=_STOP,
            facts=self.facts(serving),
        )
        return await self._supervisor.start(spec)

    async def has_port(self, running: RunningService) -> bool:
        """Whether this Metro listens on its port, which another program may have taken since it was chosen."""
        return await asyncio.to_thread(is_listening, running.pid, running.facts["port"])

    async def usage(self, project_slug: str) -> Usage | None:
        """CPU and memory of Metro and all that it started; the network of a process is not counted."""
        running = await self._supervisor.running(service_name(project_slug))
        if running is None:
            return None
        sample = await asyncio.to_thread(measure_tree, running.pid)
        if sample is None:
            return None
        cpu = self._cpu.percent(project_slug, running.pid, sample.cpu_seconds)
        return Usage(cpu, sample.memory_bytes)
