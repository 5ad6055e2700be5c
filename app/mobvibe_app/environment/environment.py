"""The environment as one handle: Postgres, the starter, previews; started, told about, stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mobvibe_app.environment.modes import Service
from mobvibe_app.environment.starters import Starters
from mobvibe_app.postgres.cluster import Cluster
from mobvibe_app.preview.address import PreviewAddress, preview_address
from mobvibe_app.preview.local import PreviewService
from mobvibe_app.preview.network import lan_address
from mobvibe_app.settings import AppSettings
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_app.supervisor.client import Exits, Supervisor
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_worker.errors import InputError, MobvibeError, ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Platform, SessionId
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.toolchain.sandbox import Sandbox
from mobvibe_worker.toolchain.starter import Starter

if TYPE_CHECKING:
    from mobvibe_app.containers.spec import Removed
    from mobvibe_app.environment.services import Services


class StoppedOnPurpose(ServiceError):
    """Somebody ended the environment with `mobvibe-tui down`: it is not for us to start it again."""


class Environment:
    """What runs on this machine for one home. Holding it open is a lease: the last one gone ends everything."""

    def __init__(
        self, settings: AppSettings, services: Services, tell: OnStatus | None = None
    ) -> None:
        """`tell` hears of statuses until `start` names who does."""
        self.settings = settings
        self._home = Home(settings.home)
        self._supervisor: Supervisor | None = None
        self._ends: Exits | None = None
        self._connecting = asyncio.Lock()
        self._starters = Starters(self._home, self.tell)
        self._tell: OnStatus = tell or _ignore
        self.services = services
        self._postgres_words = ""
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def start(self, tell: OnStatus | None = None) -> str:
        """Bring Postgres up, also after `lost`; returns its address (a secret). Raises ServiceError or StoreError.

        `tell` hears of all statuses from now on; without it who heard before.
        """
        tell = self._tell = tell or self._tell
        self._home.prepare()
        if self._supervisor is not None and self._supervisor.lost.is_set():
            await self._give_up_lease()
        url = self.settings.database_url
        if url is not None:
            dsn = url.get_secret_value()
            tell(ServiceStatus("postgres", "starting", f"DATABASE_URL, {where(dsn)}"))
            return dsn
        tell(ServiceStatus("postgres", "starting"))
        supervisor = await self.supervisor()
        try:
            address, self._postgres_words = await self.services.postgres(supervisor, tell)
        except MobvibeError as error:
            tell(ServiceStatus("postgres", "failed", error.message, error.remedy))
            raise
        self._ends = supervisor.exits()
        return address.dsn

    async def migrate(self, dsn: str) -> None:
        """Bring the schema up to date; nothing happens where it is. Raises StoreError."""
        self._tell(ServiceStatus("postgres", "starting", "migrations"))
        try:
            await MigrationRunner(self.settings.session_url(dsn)).migrate()
        except MobvibeError as error:
            self._tell(ServiceStatus("postgres", "failed", error.message, error.remedy))
            raise
        detail = self._postgres_words or where(dsn)
        self._tell(ServiceStatus("postgres", "healthy", detail, port=urlsplit(dsn).port))

    async def starter(self, version: int, *, is_fresh: bool = False) -> tuple[Starter, Node]:
        """The starter of an SDK, prepared, and its Node; the first time in a home this installs it.

        `is_fresh` looks again whether it is installed.

        Raises InputError for an unknown SDK, ServiceError when Node or npm fails.
        """
        return await self._starters.get(version, is_fresh=is_fresh)

    async def warm(self, version: int) -> None:
        """Fill the transform cache and build the Expo image behind everything else: first bundles then take seconds.

        Raises ServiceError.
        """
        starter, _ = await self.starter(version)
        previews = await self.previews(version)
        # In containers, previews and checks have the image's cache.
        is_used = previews.mode == "process" or self.settings.checks == "process"
        if is_used and not starter.is_warm:
            self._tell(ServiceStatus("starter", "starting", f"SDK {version}: warming the bundler"))
            await starter.warm()
            self._tell(ServiceStatus("starter", "healthy", f"SDK {version}"))
        if not self._watching:
            words = f"starts with the first app ({previews.mode})"
            self._tell(ServiceStatus("preview", "waiting", words))

    async def serve(
        self, session_id: SessionId, slug: str, version: int, platform: Platform = "mobile"
    ) -> PreviewAddress:
        """Start (or find running) the Metro of a project's served folder. Raises ServiceError."""
        starter, _ = await self.starter(version)
        host = lan_address(self.settings.host)
        self._tell(ServiceStatus("preview", "starting", slug))
        try:
            previews = await self.previews(version, is_launching=True)
            served = await previews.start(slug, host=host, port=self.settings.preview_port)
        except MobvibeError as error:
            self._tell(ServiceStatus("preview", "failed", error.message, error.remedy))
            raise
        self._tell(
            ServiceStatus("preview", "healthy", f"{slug} ({previews.mode})", port=served.port)
        )
        self._watch(previews, slug)
        return preview_address(
            session_id,
            slug,
            host=host,
            port=served.port,
            sdk=starter.sdk,
            provider=previews.mode,
            platform=platform,
        )

    async def previews(self, version: int, *, is_launching: bool = False) -> PreviewService:
        """Who serves the projects of an SDK; what that needs is made the first time. Raises ServiceError.

        `is_launching`: one is to be started, and what went missing since is made again.
        """
        starter, node = await self.starter(version)
        supervisor = await self.supervisor()
        return await self.services.previews(
            supervisor, starter, node, self._tell, is_launching=is_launching
        )

    def modes(self) -> dict[str, str]:
        """How each service of this home runs, where that is settled."""
        services: tuple[Service, ...] = ("postgres", "preview")
        chosen = {service: self.services.modes.chosen(service) for service in services}
        return {name: mode for name, mode in chosen.items() if mode is not None}

    def sandbox(self) -> Sandbox | None:
        """What seals the worker's checks off; None where the settings want them as processes."""
        return self.services.sandbox(self.tell)

    def tell(self, status: ServiceStatus) -> None:
        """Say how a service fares that is kept in step from elsewhere."""
        self._tell(status)

    async def supervisor(self) -> Supervisor:
        """The home's supervisor; connecting is this program's lease. Raises ServiceError."""
        async with self._connecting:
            if self._supervisor is None:
                self._home.prepare()
                self._supervisor = await Supervisor.connect(self._home)
            return self._supervisor

    async def hold(self) -> None:
        """A standing lease: what runs goes on after this program, until `shut_down`."""
        await (await self.supervisor()).hold()

    async def running(self) -> list[RunningService]:
        """What runs in this home now; starts nothing."""
        supervisor = await Supervisor.attach(self._home)
        if supervisor is None:
            return []
        async with supervisor:
            return list((await supervisor.status()).services)

    async def shut_down(self) -> bool:
        """End everything of this home; False where nothing ran."""
        supervisor = await Supervisor.attach(self._home)
        if supervisor is None:
            return False
        async with supervisor:
            await supervisor.shutdown()
        if self._supervisor is not None:
            await self._supervisor.lost.wait()
        return True

    async def remove_all(self) -> Removed | None:
        """After `shut_down`: remove what an engine of containers keeps for this home, the database's volume included.

        None where this home never used one. Raises ServiceError where the engine does not answer.
        """
        try:
            return await self.services.remove_all()
        finally:
            self.services.close()

    async def lost(self) -> MobvibeError:
        """Wait until Postgres or the supervisor ends without our asking; returns what to say then.

        It is StoppedOnPurpose where somebody asked for it.
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
        """Give up the lease."""
        await self._starters.close()
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)
        self.services.close()
        await self._give_up_lease()

    async def _give_up_lease(self) -> None:
        if self._supervisor is not None:
            await self._supervisor.close()
        self._supervisor, self._ends = None, None

    def _watch(self, previews: PreviewService, slug: str) -> None:
        """Say so when a preview ends that nobody stopped."""

        async def watch() -> None:
            error = await previews.ended(slug)
            if error is not None:
                self._tell(ServiceStatus("preview", "failed", error.message, error.remedy))

        present = self._watching.get(slug)
        if present is None or present.done():
            self._watching[slug] = asyncio.create_task(watch(), name=f"watch {slug}")


def where(dsn: str) -> str:
    """The host and port of a database's address, nothing else of it. Raises InputError for what is no address."""
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


def _ignore(status: ServiceStatus) -> None:
    """Nobody listens yet."""
