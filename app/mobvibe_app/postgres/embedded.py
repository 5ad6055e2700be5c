"""Embedded Postgres: the wheel's server under the home's supervisor, shared by every client of the home."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Literal

from mobvibe_app.postgres.cluster import USER, Cluster, failure
from mobvibe_app.postgres.variant import PostgresAddress
from mobvibe_app.status import OnStatus, ServiceName, ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Exits, Supervisor
from mobvibe_app.supervisor.place import try_lock
from mobvibe_app.supervisor.ports import PortTaken, holder_of, is_free, pick_port
from mobvibe_app.supervisor.protocol import RunningService, ServiceSpec
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import InputError, ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.launch import StopPolicy
from mobvibe_worker.processes.surroundings import allowed_environment

if TYPE_CHECKING:
    import asyncpg

NAME: ServiceName = "postgres"
DATABASE = "mobvibe"
_HOST = "127.0.0.1"
_FIRST_PORT = 15432
_PORT_ATTEMPTS = 8
_READY_SECONDS = 600.0
"""Generous: recovery after a crash replays what was written, and only a server that ended has failed."""
_POLL_SECONDS = 0.01
_STOP = StopPolicy(signal="INT", scope="process", grace=30.0, then="QUIT")
"""SIGINT to the postmaster alone is a fast and clean shutdown; SIGQUIT leaves a recovery to the next start."""


class EmbeddedPostgres:
    """The Postgres of one home. It runs for as long as a lease on the supervisor is held, or `up` holds it."""

    mode: Literal["docker", "embedded"] = "embedded"

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`port` is fixed by the person; without it a free one is chosen and kept. `settings` are the server's own."""
        self._home = home
        self._supervisor = supervisor
        self._fixed_port = port
        self._settings = dict(settings or {})
        self._cluster = Cluster(home)
        self._choices = Choices(home.choices)
        self._log = ServiceLog(home.logs / "postgres.log")

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        """The address of the server, which is made and started where it does not run yet. Raises ServiceError."""
        try:
            async with self._turn(on_status):
                on_status(ServiceStatus(NAME, "starting", "starting"))
                exits = self._supervisor.exits()
                running = await self._supervisor.running(NAME)
                if running is None:
                    running = await self._start(on_status, exits)
                else:
                    await self._wait_until_ready(running, exits, on_status, 0)
                version = await self._ensure_database(running.facts["port"])
        except ServiceError as error:
            on_status(ServiceStatus(NAME, "failed", error.message, error.remedy))
            raise
        port = running.facts["port"]
        on_status(ServiceStatus(NAME, "healthy", f"Postgres {version}, embedded", port=port))
        password = self._cluster.password()
        return PostgresAddress(
            f"postgresql://{USER}:{password}@{_HOST}:{port}/{DATABASE}", port, version
        )

    async def stop(self, *, quietly: bool = False) -> None:
        """Stop the server for all clients of the home; every committed row stays."""
        await self._supervisor.stop(NAME, quietly=quietly)

    async def rebuild(self, on_status: OnStatus) -> None:
        """Raises InputError: its programs are the wheel's, and its rows are all there is besides."""
        raise InputError(
            "Embedded Postgres has nothing to rebuild: its programs come with mobvibe-tui.",
            "`mobvibe-tui restart postgres` starts it again; `reset postgres` begins with an empty one.",
        )

    async def reset(self) -> tuple[str, ...]:
        """Delete the cluster with all rows, and its password."""
        return await asyncio.to_thread(self._cluster.remove)

    @contextlib.asynccontextmanager
    async def _turn(self, on_status: OnStatus) -> AsyncIterator[None]:
        """One client at a time makes, starts and checks; the others find it done."""
        is_said = False
        while True:
            with try_lock(self._home.run / "postgres.lock") as is_ours:
                if is_ours:
                    yield
                    return
            if not is_said:
                on_status(ServiceStatus(NAME, "waiting", "another mobvibe-tui is starting it"))
                is_said = True
            await asyncio.sleep(_POLL_SECONDS)

    async def _start(self, on_status: OnStatus, exits: Exits) -> RunningService:
        if not self._cluster.exists():
            on_status(ServiceStatus(NAME, "starting", "making the database, once"))
            await self._cluster.make()
        self._cluster.password()
        await self._cluster.wait_for_the_one_before()
        rejected: set[int] = set()
        for _ in range(_PORT_ATTEMPTS):
            port = self._pick_port(rejected)
            offset = self._log.rotate()
            running = await self._supervisor.start(self._spec(port))
            try:
                await self._wait_until_ready(running, exits, on_status, offset)
            except PortTaken:
                rejected.add(port)
                continue
            self._choices.remember_port(NAME, port)
            return running
        raise ServiceError("No port could be found for Postgres.", "Set one that is free.")

    def _pick_port(self, rejected: set[int]) -> int:
        if self._fixed_port is None:
            remembered = self._choices.ports()
            preferred = remembered.pop(NAME, _FIRST_PORT)
            return pick_port(preferred, {*remembered.values(), *rejected}, _HOST)
        if self._fixed_port in rejected or not is_free(self._fixed_port, _HOST):
            holder = holder_of(self._fixed_port) or "another program"
            raise ServiceError(
                f"Port {self._fixed_port}, set for Postgres, is taken by {holder}.",
                "End that program, or set another port.",
            )
        return self._fixed_port

    def _spec(self, port: int) -> ServiceSpec:
        settings = {
            "listen_addresses": _HOST,
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

    async def _wait_until_ready(
        self, running: RunningService, exits: Exits, on_status: OnStatus, offset: int
    ) -> None:
        ending = asyncio.create_task(_end_of(running, exits))
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready_or_ended(running, ending, on_status)
        except TimeoutError as error:
            raise ServiceError(
                "Postgres does not become ready.",
                f"See {self._log.path}, then start mobvibe-tui again.",
            ) from error
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        if self._is_ready(running):
            return
        if self._supervisor.lost.is_set():
            raise ServiceError("The supervisor of the environment ended.", "Try again.")
        output = self._log.said(offset)
        if "could not bind IPv4 address" in output and not running.already:
            raise PortTaken(f"Port {running.facts['port']} was taken just now.", "Try again.")
        raise failure("Postgres could not start", output, f"See {self._log.path}, then try again.")

    async def _ready_or_ended(
        self, running: RunningService, ending: asyncio.Task[None], on_status: OnStatus
    ) -> None:
        started = asyncio.get_running_loop().time()
        is_said = False
        while not self._is_ready(running) and not ending.done():
            if not is_said and asyncio.get_running_loop().time() - started > 3.0:
                on_status(ServiceStatus(NAME, "starting", "recovering after a crash"))
                is_said = True
            await asyncio.wait((ending,), timeout=_POLL_SECONDS)

    def _is_ready(self, running: RunningService) -> bool:
        note = self._cluster.pid_file()
        return note is not None and note.pid == running.pid and note.is_ready

    async def _ensure_database(self, port: int) -> str:
        """Make our database where it is missing; the server's version. Connecting is the last proof of health."""
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
                host=_HOST,
                port=port,
                user=USER,
                password=self._cluster.password(),
                database=database,
                ssl=False,
                timeout=30,
            )
        except asyncpg.InvalidPasswordError as error:
            raise ServiceError(
                "The embedded Postgres does not know the password that this home keeps for it.",
                f"Restore the files of {self._home.secrets}, or move {self._cluster.data} away.",
            ) from error
        except (OSError, TimeoutError) as error:
            raise ServiceError(
                f"Postgres on port {port} does not answer: {error}.",
                f"See {self._log.path}, then start mobvibe-tui again.",
            ) from error


async def _end_of(running: RunningService, exits: Exits) -> None:
    async for exit_ in exits:
        if exit_.name == running.name:
            return
