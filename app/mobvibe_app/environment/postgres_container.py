"""Postgres in a container of the official image: its data in a named volume, its port on loopback only."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import asyncpg

from mobvibe_app.changes import ServiceName, ServiceStatus
from mobvibe_app.environment.choices import Choices
from mobvibe_app.environment.container_keeper import keeper_spec, kept_words
from mobvibe_app.environment.container_spec import (
    HOME_LABEL,
    SERVICE_LABEL,
    SPEC_LABEL,
    ContainerSpec,
    Mount,
    PublishedPort,
)
from mobvibe_app.environment.docker_engine import DockerEngine
from mobvibe_app.environment.ports import holder_of, is_free, pick_port
from mobvibe_app.environment.postgres_embedded import PostgresAddress
from mobvibe_app.environment.supervisor.client import Exits, Supervisor
from mobvibe_app.environment.supervisor.place import try_lock
from mobvibe_app.environment.supervisor.protocol import RunningService
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.sanitize import clean_text

IMAGE = "postgres:18"
_NAME: ServiceName = "postgres"
_USER = "mobvibe"
_DATABASE = "mobvibe"
_MAJOR_LABEL = "dev.mobvibe.postgres-major"
_PASSWORD_PLACE = "/mobvibe-password"
_HOST = "127.0.0.1"
_FIRST_PORT = 15432
_PORT_ATTEMPTS = 8
_LARGEST_LOG = 5_000_000
_READY_SECONDS = 300.0
_STOP_SECONDS = 30
_POLL_SECONDS = 0.1
# The image starts as root to make its folders its own, then becomes the user postgres for good.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)

OnStatus = Callable[[ServiceStatus], None]


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
        """`port` is fixed by the person; without it a free one is chosen and kept."""
        self._home = home
        self._supervisor = supervisor
        self._engine = engine
        self._home_id = home_id
        self._image = image
        self._fixed_port = port
        self._choices = Choices(home.choices)
        self._log = home.logs / "postgres.log"
        self.container = f"mobvibe-{home_id}-postgres"
        self.volume = f"mobvibe-{home_id}-postgres"

    async def start(self, on_status: OnStatus) -> PostgresAddress:
        """The address of the server, which is pulled, made and started where it does not run yet.

        A container that runs already is adopted. Raises ServiceError.
        """
        while True:
            with try_lock(self._home.run / "postgres.lock") as is_ours:
                if is_ours:
                    return await self._start(on_status)
            on_status(ServiceStatus(_NAME, "waiting", "another mobvibe-tui is starting it"))
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Stop the server for all clients of the home; every committed row stays in the volume."""
        await self._supervisor.stop(_NAME)

    async def _start(self, on_status: OnStatus) -> PostgresAddress:
        on_status(ServiceStatus(_NAME, "starting", "docker"))
        exits = self._supervisor.exits()
        running = await self._supervisor.running(_NAME)
        if running is not None and running.facts.get("mode") != "docker":
            raise ServiceError(
                "This home's embedded Postgres is running.",
                "Run `mobvibe-tui down` first, then start with --postgres docker.",
            )
        if running is None:
            await asyncio.to_thread(self._prepare, on_status)
            running = await self._run(exits)
        version = await self._until_ready(running, exits, None)
        port = int(running.facts["port"])
        dsn = f"postgresql://{_USER}:{self._password()}@{_HOST}:{port}/{_DATABASE}"
        return PostgresAddress(dsn, port, version)

    def _prepare(self, on_status: OnStatus) -> None:
        """The image, the volume and the password. Blocks."""
        if self._engine.image_id(self._image) is None:
            self._engine.pull(
                self._image,
                lambda got, all_: on_status(
                    ServiceStatus(
                        _NAME,
                        "downloading",
                        f"{self._image}, {got / 1e6:.0f} of {all_ / 1e6:.0f} MB",
                        progress=got / all_,
                    )
                ),
            )
        major = self._engine.image_environment(self._image).get("PG_MAJOR", "")
        labels = self._engine.volume_labels(self.volume)
        if labels is None:
            made = {HOME_LABEL: self._home_id, SERVICE_LABEL: _NAME, _MAJOR_LABEL: major}
            self._engine.create_volume(self.volume, made)
        elif labels.get(_MAJOR_LABEL) != major:
            old = labels.get(_MAJOR_LABEL)
            raise ServiceError(
                f"The volume {self.volume} holds the data of Postgres {old}, and {self._image} is {major}.",
                f"Set MOBVIBE_POSTGRES_IMAGE=postgres:{old}, dump the database, remove the volume, "
                "then load the dump with the new image.",
            )
        self._password()

    async def _run(self, exits: Exits) -> RunningService:
        rejected: set[int] = set()
        for _ in range(_PORT_ATTEMPTS):
            port = await asyncio.to_thread(self._pick_port, rejected)
            offset = self._rotate_log()
            await asyncio.to_thread(self._ensure_container, port)
            running = await self._supervisor.start(
                keeper_spec(
                    _NAME,
                    self.container,
                    log=self._log,
                    stop_seconds=_STOP_SECONDS,
                    is_disposable=False,
                    facts={"port": port},
                )
            )
            try:
                await self._until_ready(running, exits, offset)
            except _PortTaken:
                rejected.add(port)
                continue
            self._choices.remember_port("postgres-docker", port)
            return running
        raise ServiceError("No port could be found for Postgres.", "Set one that is free.")

    def _pick_port(self, rejected: set[int]) -> int:
        found = self._engine.find(self.container)
        is_ours = found is not None and found.is_running
        if self._fixed_port is None:
            remembered = self._choices.ports()
            preferred = remembered.pop("postgres-docker", _FIRST_PORT)
            if is_ours and preferred not in rejected:
                return preferred
            return pick_port(preferred, {*remembered.values(), *rejected}, _HOST)
        if self._fixed_port in rejected or not (is_ours or is_free(self._fixed_port, _HOST)):
            holder = holder_of(self._fixed_port) or "another program"
            raise ServiceError(
                f"Port {self._fixed_port}, set for Postgres, is taken by {holder}.",
                "End that program, or set another port.",
            )
        return self._fixed_port

    def _ensure_container(self, port: int) -> None:
        """The container as it should be: the one that is there, running or not, else a new one."""
        spec = self.spec(port)
        found = self._engine.find(self.container)
        if found is not None and found.labels.get(SPEC_LABEL) == spec.fingerprint:
            return
        if found is not None:
            self._engine.stop(self.container, _STOP_SECONDS)
        self._engine.create(spec)
        self._engine.put_file(self.container, _PASSWORD_PLACE, self._password().encode())

    def spec(self, port: int) -> ContainerSpec:
        """The official image's contract; the data one level higher than before 18."""
        return ContainerSpec(
            name=self.container,
            image=self._image,
            labels={HOME_LABEL: self._home_id, SERVICE_LABEL: _NAME},
            environment={
                "POSTGRES_USER": _USER,
                "POSTGRES_DB": _DATABASE,
                "POSTGRES_PASSWORD_FILE": _PASSWORD_PLACE,
            },
            mounts=(Mount(self.volume, "/var/lib/postgresql", "volume"),),
            ports=(PublishedPort(5432, port, _HOST),),
            capabilities=_CAPABILITIES,
            has_init=False,
            processes=512,
        )

    async def _until_ready(self, running: RunningService, exits: Exits, offset: int | None) -> str:
        """The server's version, once it takes connections."""
        ending = asyncio.create_task(_end_of(exits))
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not ending.done():
                    try:
                        version = await self._ask_version(running.facts["port"])
                        # One that was adopted answers before its keeper could stop it again.
                        if offset is None or kept_words(self.container) in self._said(offset):
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
                host=_HOST,
                port=port,
                user=_USER,
                password=self._password(),
                database=_DATABASE,
                ssl=False,
                timeout=10,
            )
        except asyncpg.InvalidPasswordError as error:
            raise ServiceError(
                f"The database in the volume {self.volume} does not know this home's password.",
                f"Restore {self._password_path}, or remove the volume to begin with an empty one.",
            ) from error
        version = str(connection.get_settings().server_version).partition(" ")[0]
        await connection.close()
        return version

    def _failure(self, offset: int) -> ServiceError:
        said = self._said(offset).strip()
        if "the port is taken" in said:
            return _PortTaken("The port was taken just now.", "Try again.")
        last = said.splitlines()[-1] if said else "it said nothing"
        return ServiceError(
            f"Postgres could not start: {last[:400]}", f"See {self._log}, then try again."
        )

    def _rotate_log(self) -> int:
        """The size of the log, in bytes, from which the next start's lines follow."""
        if not self._log.exists():
            return 0
        size = self._log.stat().st_size
        if size <= _LARGEST_LOG:
            return size
        self._log.replace(self._log.with_suffix(".log.1"))
        return 0

    def _said(self, offset: int) -> str:
        with self._log.open("rb") as log:
            log.seek(offset)
            return clean_text(log.read().decode(errors="replace"))

    @property
    def _password_path(self) -> Path:
        return self._home.secrets / "postgres-docker-password"

    def _password(self) -> str:
        path = self._password_path
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text(encoding="utf-8")


class _PortTaken(ServiceError):
    """Another program was faster."""


async def _end_of(exits: Exits) -> None:
    async for exit_ in exits:
        if exit_.name == _NAME:
            return
