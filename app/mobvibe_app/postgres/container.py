"""Postgres in a container of the official image: its data in a named volume, its port on loopback only."""

from __future__ import annotations

import asyncio
from typing import Literal

import asyncpg

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.keeper import keeper_spec, kept_words
from mobvibe_app.postgres.container_parts import (
    DATABASE,
    HOST,
    NAME,
    STOP_SECONDS,
    USER,
    PostgresParts,
)
from mobvibe_app.postgres.variant import PostgresAddress
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Exits, Supervisor
from mobvibe_app.supervisor.place import try_lock
from mobvibe_app.supervisor.ports import PortTaken, holder_of, is_free, pick_port
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home

IMAGE = "postgres:18"
_PORT_NAME = "postgres-docker"
_FIRST_PORT = 15432
_PORT_ATTEMPTS = 8
_READY_SECONDS = 300.0
_POLL_SECONDS = 0.1
_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)


class PostgresContainer:
    """The Postgres of one home in a container. It runs for as long as a lease on the supervisor is held."""

    mode: Literal["docker", "embedded"] = "docker"

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
        """`port` is fixed by the person; without it a free one is chosen and kept."""
        self._home = home
        self._supervisor = supervisor
        self._parts = PostgresParts(home, engine, home_id, image)
        self._fixed_port = port
        self._choices = Choices(home.choices)
        self._log = ServiceLog(home.logs / "postgres.log")
        self.container = self._parts.container
        self.volume = self._parts.volume

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        """The address of the server, which is pulled, made and started where it does not run yet.

        A container that runs already is adopted. Raises ServiceError.
        """
        while True:
            with try_lock(self._home.run / "postgres.lock") as is_ours:
                if is_ours:
                    return await self._start(on_status)
            on_status(ServiceStatus(NAME, "waiting", "another mobvibe-tui is starting it"))
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self, *, quietly: bool = False) -> None:
        """Stop the server for all clients of the home; every committed row stays in the volume."""
        await self._supervisor.stop(NAME, quietly=quietly)

    async def rebuild(self, on_status: OnStatus) -> None:
        """Fetch the newest image of its name, stop the server, drop the container: the next start makes it anew."""
        await asyncio.to_thread(self._parts.pull, on_status)
        await self.stop(quietly=True)
        await asyncio.to_thread(self._parts.remove_container)

    async def reset(self) -> tuple[str, ...]:
        """Delete the container, the volume with all rows, and the password."""
        return await asyncio.to_thread(self._parts.remove)

    async def _start(self, on_status: OnStatus) -> PostgresAddress:
        on_status(ServiceStatus(NAME, "starting", "docker"))
        exits = self._supervisor.exits()
        running = await self._supervisor.running(NAME)
        if running is not None and running.facts.get("mode") != "docker":
            raise ServiceError(
                "This home's embedded Postgres is running.",
                "Run `mobvibe-tui down` first, then start with --postgres docker.",
            )
        if running is None:
            await asyncio.to_thread(self._parts.prepare, on_status)
            running = await self._run(exits)
        version = await self._until_ready(running, exits, None)
        port = int(running.facts["port"])
        dsn = f"postgresql://{USER}:{self._parts.password()}@{HOST}:{port}/{DATABASE}"
        return PostgresAddress(dsn, port, version)

    async def _run(self, exits: Exits) -> RunningService:
        rejected: set[int] = set()
        for _ in range(_PORT_ATTEMPTS):
            port = await asyncio.to_thread(self._pick_port, rejected)
            offset = self._log.rotate()
            await asyncio.to_thread(self._parts.ensure_container, port)
            running = await self._supervisor.start(
                keeper_spec(
                    NAME,
                    self.container,
                    log=self._log.path,
                    stop_seconds=STOP_SECONDS,
                    is_disposable=False,
                    facts={"port": port},
                )
            )
            try:
                await self._until_ready(running, exits, offset)
            except PortTaken:
                rejected.add(port)
                continue
            self._choices.remember_port(_PORT_NAME, port)
            return running
        raise ServiceError("No port could be found for Postgres.", "Set one that is free.")

    def _pick_port(self, rejected: set[int]) -> int:
        is_ours = self._parts.is_running()
        if self._fixed_port is None:
            remembered = self._choices.ports()
            preferred = remembered.pop(_PORT_NAME, _FIRST_PORT)
            if is_ours and preferred not in rejected:
                return preferred
            return pick_port(preferred, {*remembered.values(), *rejected}, HOST)
        if self._fixed_port in rejected or not (is_ours or is_free(self._fixed_port, HOST)):
            holder = holder_of(self._fixed_port) or "another program"
            raise ServiceError(
                f"Port {self._fixed_port}, set for Postgres, is taken by {holder}.",
                "End that program, or set another port.",
            )
        return self._fixed_port

    async def _until_ready(self, running: RunningService, exits: Exits, offset: int | None) -> str:
        """The server's version, once it takes connections."""
        ending = asyncio.create_task(_end_of(exits))
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not ending.done():
                    try:
                        version = await self._ask_version(running.facts["port"])
                        # One that was adopted answers before its keeper could stop it again.
                        if offset is None or kept_words(self.container) in self._log.said(offset):
                            return version
                    except _NOT_YET:
                        pass
                    await asyncio.wait((ending,), timeout=_POLL_SECONDS)
        except TimeoutError:
            pass
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        raise self._failure(offset or 0)

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
                f"The database in the volume {self.volume} does not know this home's password.",
                f"Restore {self._parts.password_path}, or remove the volume to begin with an empty one.",
            ) from error
        version = str(connection.get_settings().server_version).partition(" ")[0]
        await connection.close()
        return version

    def _failure(self, offset: int) -> ServiceError:
        said = self._log.said(offset).strip()
        if "the port is taken" in said:
            return PortTaken("The port was taken just now.", "Try again.")
        last = said.splitlines()[-1] if said else "it said nothing"
        return ServiceError(
            f"Postgres could not start: {last[:400]}", f"See {self._log.path}, then try again."
        )


async def _end_of(exits: Exits) -> None:
    async for exit_ in exits:
        if exit_.name == NAME:
            return
