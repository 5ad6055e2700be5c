"""Postgres in a container of the official image, with its data in a named volume and its port on loopback."""

from __future__ import annotations

import asyncio

import asyncpg

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.keeper import keeper_spec, ready_line
from mobvibe_app.postgres.container_parts import STOP_SECONDS, PostgresParts
from mobvibe_app.postgres.variant import (
    DATABASE,
    FIRST_PORT,
    HOST,
    NAME,
    USER,
    PostgresAddress,
)
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ported import PortedService, WantedPort
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.locks import held

IMAGE = "postgres:18"
_PORT_KEY = "postgres-docker"
_READY_SECONDS = 300.0
_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)


class PostgresContainer:
    """The Postgres of one home in a container. It runs for as long as a lease on the supervisor is held."""

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        engine: DockerEngine,
        home_id: str,
        *,
        image: str = IMAGE,
        port: int | None = None,
    ) -> None:
        """`port` is fixed by the person; without it a free one is chosen and remembered."""
        self._home = home
        self._supervisor = supervisor
        self._parts = PostgresParts(home, engine, home_id, image)
        self._fixed_port = port
        self._log = ServiceLog(home.logs / "postgres.log")
        self.container = self._parts.container
        self.volume = self._parts.volume

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        """The address of the server, which is pulled, created and started if it does not run yet.

        A container that runs already is adopted. Raises ServiceError.
        """
        waiting = ServiceStatus(NAME, "waiting", "another mobvibe-tui is starting it")
        async with held(self._home.run / "postgres.lock", lambda: on_status(waiting)):
            on_status(ServiceStatus(NAME, "starting", "docker"))
            running = await self._supervisor.running(NAME)
            if running is None:
                await asyncio.to_thread(self._parts.prepare, on_status)
            elif running.facts.get("mode") != "docker":
                raise ServiceError(
                    "This home's embedded Postgres is running.",
                    "Run `mobvibe-tui down` first, then start with --postgres docker.",
                )
            port = (await self._service().start()).facts["port"]
            version = await self._ask_version(port)
        return PostgresAddress.of(self._parts.password(), port, version)

    async def stop(self, *, quietly: bool = False) -> None:
        await self._supervisor.stop(NAME, quietly=quietly)

    async def rebuild(self, on_status: OnStatus) -> None:
        """Fetch the newest image, stop the server and remove the container; the next start creates another."""
        await asyncio.to_thread(self._parts.pull, on_status)
        await self.stop(quietly=True)
        await asyncio.to_thread(self._parts.remove_container)

    async def reset(self) -> tuple[str, ...]:
        return await asyncio.to_thread(self._parts.remove)

    def _service(self) -> PortedService:
        return PortedService(
            supervisor=self._supervisor,
            name=NAME,
            log=self._log,
            port=WantedPort(
                choices=Choices(self._home.choices),
                key=_PORT_KEY,
                title="Postgres",
                lowest=FIRST_PORT,
                fixed=self._fixed_port,
                address=HOST,
                is_held_by_service=self._parts.is_running,
            ),
            launch=self._launch,
            is_ready=self._is_ready,
            is_port_taken=lambda printed: "the port is taken" in printed,
            failure=self._failure,
            ready_seconds=_READY_SECONDS,
        )

    async def _launch(self, port: int, _: int) -> RunningService:
        await asyncio.to_thread(self._parts.ensure_container, port)
        return await self._supervisor.start(
            keeper_spec(
                NAME,
                self.container,
                log=self._log.path,
                stop_seconds=STOP_SECONDS,
                is_disposable=False,
                facts={"port": port},
            )
        )

    async def _is_ready(self, running: RunningService, log_size: int) -> bool:
        # The container of an earlier start answers before its new keeper is able to stop it.
        has_keeper = running.already or ready_line(self.container) in self._log.tail(log_size)
        # While the container does not run, another server may have its port.
        if not has_keeper or not await asyncio.to_thread(self._parts.is_running):
            return False
        try:
            await self._ask_version(running.facts["port"])
        except _NOT_YET:
            return False
        return True

    async def _ask_version(self, port: int) -> str:
        try:
            connection = await asyncpg.connect(
                host=HOST,
                port=port,
                user=USER,
                password=self._parts.password(),
                database=DATABASE,
                ssl=False,
                timeout=10,
            )
        except asyncpg.InvalidPasswordError as error:
            raise ServiceError(
                f"The database in the volume {self.volume} rejects this home's password.",
                f"Restore {self._parts.password_path}, or remove the volume to start with an empty one.",
            ) from error
        version = str(connection.get_settings().server_version).partition(" ")[0]
        await connection.close()
        return version

    def _failure(self, how: str, printed: str) -> ServiceError:
        lines = printed.strip().splitlines() or ["it printed nothing"]
        return ServiceError(
            f"Postgres {how}: {lines[-1][:400]}", f"See {self._log.path}, then try again."
        )
