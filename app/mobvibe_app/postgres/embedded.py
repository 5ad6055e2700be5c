"""Embedded Postgres: the wheel's server under the home's supervisor, shared by all clients of the home."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mobvibe_app.postgres.cluster import Cluster, failure
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
from mobvibe_app.supervisor.protocol import RunningService, ServiceSpec
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import InputError, ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.guarded import StopPolicy
from mobvibe_worker.processes.locks import held
from mobvibe_worker.processes.surroundings import allowed_environment

if TYPE_CHECKING:
    import asyncpg

_READY_SECONDS = 600.0
"""Long, because recovery after a crash takes its time, and only a server that ended has failed."""
_SLOW_SECONDS = 3.0
"""A longer start is a recovery after a crash."""
_STOP = StopPolicy(signal="INT", scope="process", grace=30.0, then="QUIT")
"""SIGINT to the postmaster alone is a fast, clean shutdown. SIGQUIT leaves a recovery to the next start."""


class EmbeddedPostgres:
    """The Postgres of one home. It runs for as long as a lease on the supervisor is held, or `up` holds it."""

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`port` is fixed by the person; without it a free one is remembered. `settings` are the server's."""
        self._home = home
        self._supervisor = supervisor
        self._fixed_port = port
        self._settings = dict(settings or {})
        self._cluster = Cluster(home)
        self._log = ServiceLog(home.logs / "postgres.log")

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        waiting = ServiceStatus(NAME, "waiting", "another mobvibe-tui is starting it")
        async with held(self._home.run / "postgres.lock", lambda: on_status(waiting)):
            on_status(ServiceStatus(NAME, "starting", "starting"))
            if await self._supervisor.running(NAME) is None:
                await self._prepare(on_status)
            recovering = ServiceStatus(NAME, "starting", "recovering after a crash")
            slow = asyncio.get_running_loop().call_later(_SLOW_SECONDS, on_status, recovering)
            try:
                running = await self._service().start()
            finally:
                slow.cancel()
            port = running.facts["port"]
            version = await self._ensure_database(port)
        on_status(ServiceStatus(NAME, "healthy", f"Postgres {version}, embedded", port=port))
        return PostgresAddress.of(self._cluster.password(), port, version)

    async def stop(self, *, quietly: bool = False) -> None:
        await self._supervisor.stop(NAME, quietly=quietly)

    async def rebuild(self, on_status: OnStatus) -> None:
        """Raises InputError, because there is nothing to rebuild."""
        raise InputError(
            "Embedded Postgres has nothing to rebuild: its programs come with mobvibe-tui.",
            "`mobvibe-tui restart postgres` restarts it; `reset postgres` starts with an empty database.",
        )

    async def reset(self) -> tuple[str, ...]:
        return await asyncio.to_thread(self._cluster.remove)

    async def _prepare(self, on_status: OnStatus) -> None:
        if not self._cluster.exists():
            on_status(ServiceStatus(NAME, "starting", "creating the database, once"))
            await self._cluster.create()
        self._cluster.password()
        await self._cluster.wait_for_predecessor()

    def _service(self) -> PortedService:
        return PortedService(
            supervisor=self._supervisor,
            name=NAME,
            log=self._log,
            port=WantedPort(
                choices=Choices(self._home.choices),
                key=NAME,
                title="Postgres",
                lowest=FIRST_PORT,
                fixed=self._fixed_port,
                address=HOST,
            ),
            launch=lambda port, _: self._supervisor.start(self._spec(port)),
            is_ready=self._is_ready,
            is_port_taken=lambda printed: "could not bind IPv4 address" in printed,
            failure=self._failure,
            ready_seconds=_READY_SECONDS,
        )

    def _spec(self, port: int) -> ServiceSpec:
        settings = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "100",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ServiceSpec(
            NAME,
            (*self._cluster.program("postgres"), "-D", str(self._cluster.data), *options),
            cwd=self._home.postgres,
            log=self._log.path,
            env=allowed_environment({"LC_ALL": "C"}),
            stop=_STOP,
            facts={"port": port},
        )

    async def _is_ready(self, running: RunningService, _: int) -> bool:
        note = self._cluster.pid_file()
        return note is not None and note.pid == running.pid and note.is_ready

    def _failure(self, how: str, printed: str) -> ServiceError:
        return failure(f"Postgres {how}", printed, f"See {self._log.path}, then try again.")

    async def _ensure_database(self, port: int) -> str:
        """Create our database if it is missing; returns the server's version."""
        import asyncpg

        try:
            connection = await self._connect(port, DATABASE)
        except asyncpg.InvalidCatalogNameError:
            connection = await self._connect(port, "postgres")
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f"create database {DATABASE}")
        version = str(connection.get_settings().server_version).partition(" ")[0]
        await connection.close()
        return version

    async def _connect(self, port: int, database: str) -> asyncpg.Connection:
        import asyncpg

        try:
            return await asyncpg.connect(
                host=HOST,
                port=port,
                user=USER,
                password=self._cluster.password(),
                database=database,
                ssl=False,
                timeout=30,
            )
        except asyncpg.InvalidPasswordError as error:
            raise ServiceError(
                "The embedded Postgres rejects the password that this home has for it.",
                f"Restore the files of {self._home.secrets}, or move {self._cluster.data} away.",
            ) from error
        except (OSError, TimeoutError) as error:
            raise ServiceError(
                f"Postgres on port {port} does not answer: {error}.",
                f"See {self._log.path}, then start mobvibe-tui again.",
            ) from error
