"""Starts, reports on and stops everything that a home runs: Postgres, the Expo starters and the previews."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mobvibe_app.environment.previews import Previews
from mobvibe_app.environment.starters import Starters
from mobvibe_app.postgres.cluster import Cluster
from mobvibe_app.settings import AppSettings
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_app.supervisor.client import Exits, Supervisor
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_worker.errors import InputError, MobvibeError, ServiceError, StoppedOnPurpose
from mobvibe_worker.home import Home
from mobvibe_worker.store.schema.migrations import MigrationRunner

if TYPE_CHECKING:
    from mobvibe_app.containers.spec import Removed
    from mobvibe_app.environment.services import Services


class Environment:
    """What one home runs on this machine. Everything ends with the last program that holds the home open."""

    def __init__(
        self, settings: AppSettings, services: Services, on_status: OnStatus | None = None
    ) -> None:
        """`on_status` gets every status until `start` names another callback."""
        self.settings = settings
        self._home = Home(settings.home)
        self._supervisor: Supervisor | None = None
        self._ends: Exits | None = None
        self._connecting = asyncio.Lock()
        self._on_status: OnStatus = on_status or _ignore
        self.starters = Starters(self._home, self.report)
        self.services = services
        self.previews = Previews(settings, services, self.starters, self.supervisor, self.report)
        self._postgres_words = ""

    async def start(self, on_status: OnStatus | None = None) -> str:
        """Start Postgres, for the first time or after `lost`, and return its address (a secret).

        `on_status` replaces the current callback for statuses. Raises ServiceError, InputError.
        """
        on_status = self._on_status = on_status or self._on_status
        self._home.prepare()
        if self._supervisor is not None and self._supervisor.lost.is_set():
            await self._give_up_lease()
        url = self.settings.database_url
        if url is not None:
            dsn = url.get_secret_value()
            on_status(ServiceStatus("postgres", "starting", f"DATABASE_URL, {where(dsn)}"))
            return dsn
        on_status(ServiceStatus("postgres", "starting"))
        supervisor = await self.supervisor()
        try:
            address, self._postgres_words = await self.services.postgres(supervisor, on_status)
        except MobvibeError as error:
            on_status(ServiceStatus("postgres", "failed", error.message, error.remedy))
            raise
        self._ends = supervisor.exits()
        return address.dsn

    async def migrate(self, dsn: str) -> None:
        """Bring the schema up to date. Idempotent. Raises StoreError."""
        self._on_status(ServiceStatus("postgres", "starting", "migrations"))
        try:
            await MigrationRunner(self.settings.session_url(dsn)).migrate()
        except MobvibeError as error:
            self._on_status(ServiceStatus("postgres", "failed", error.message, error.remedy))
            raise
        detail = self._postgres_words or where(dsn)
        self._on_status(ServiceStatus("postgres", "healthy", detail, port=urlsplit(dsn).port))

    def report(self, status: ServiceStatus) -> None:
        self._on_status(status)

    async def supervisor(self) -> Supervisor:
        """The home's supervisor. The connection is this program's lease. Raises ServiceError."""
        async with self._connecting:
            if self._supervisor is None:
                self._home.prepare()
                self._supervisor = await Supervisor.connect(self._home)
            return self._supervisor

    async def hold(self) -> None:
        """Take a standing lease: what runs keeps running after this program, until `shut_down`."""
        await (await self.supervisor()).hold()

    async def running(self) -> list[RunningService]:
        """What runs in this home now. Starts nothing."""
        supervisor = await Supervisor.attach(self._home)
        if supervisor is None:
            return []
        async with supervisor:
            return list((await supervisor.status()).services)

    async def shut_down(self) -> bool:
        """Stop everything of this home; False if nothing ran."""
        supervisor = await Supervisor.attach(self._home)
        if supervisor is None:
            return False
        async with supervisor:
            await supervisor.shutdown()
        if self._supervisor is not None:
            await self._supervisor.lost.wait()
        return True

    async def remove_all(self) -> Removed | None:
        """After `shut_down`, remove what the container engine keeps for this home, even the database's volume.

        None if this home never used an engine. Raises ServiceError if the engine does not answer.
        """
        try:
            return await self.services.remove_all()
        finally:
            self.services.close()

    async def lost(self) -> MobvibeError:
        """Wait until Postgres or the supervisor ends, and return why.

        It is StoppedOnPurpose if a person or another program stopped it.
        """
        if self._ends is None:
            self._ends = (await self.supervisor()).exits()
        was_asked = False
        async for exit_ in self._ends:
            if exit_.name == "postgres" and not exit_.was_asked:
                return Cluster(self._home).why_ended(exit_.exit_code)
            if exit_.name == "postgres" or self.settings.database_url is not None:
                was_asked = exit_.was_asked
            if exit_.name == "postgres":
                break
        if was_asked:
            return StoppedOnPurpose(
                "The environment was stopped with `mobvibe-tui down` or `reset`.",
                "Quit and start again.",
            )
        return ServiceError(
            "The supervisor of the environment ended by itself.",
            "Start mobvibe-tui again; nothing is lost.",
        )

    async def close(self) -> None:
        await self.starters.close()
        self.services.close()
        await self._give_up_lease()

    async def _give_up_lease(self) -> None:
        if self._supervisor is not None:
            await self._supervisor.close()
        self._supervisor, self._ends = None, None


def where(dsn: str) -> str:
    """The host and port of a database's address, without its secrets. Raises InputError if it is not an address."""
    try:
        parts = urlsplit(dsn)
        found = f"{parts.hostname}:{parts.port or 5432}"
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("postgres", "postgresql") or not parts.hostname:
        raise InputError(
            "DATABASE_URL is not the address of a Postgres database.",
            "Write it as postgresql://USER:PASSWORD@HOST:5432/NAME.",
        )
    return found


def _ignore(status: ServiceStatus) -> None: ...
