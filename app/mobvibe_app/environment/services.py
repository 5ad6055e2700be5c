"""Runs Postgres and finds the container engine of a home, in the mode picked for each service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mobvibe_app.environment.modes import Mode, Modes, Picked, Service
from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.postgres.variant import PostgresAddress, PostgresVariant
from mobvibe_app.settings import AppSettings
from mobvibe_app.status import OnStatus
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.sandbox import Sandbox
from mobvibe_worker.toolchain.starter import Starter

if TYPE_CHECKING:
    from mobvibe_app.checks.container import CheckImage
    from mobvibe_app.containers.engine import DockerEngine
    from mobvibe_app.containers.spec import Removed
    from mobvibe_app.preview.providers.expo_image import ExpoImage


class Services:
    """Postgres and the container engine of one home. An engine is looked for only if something could use it."""

    def __init__(self, settings: AppSettings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self.modes = Modes(home)
        self._engine: DockerEngine | None = None
        self.building = asyncio.Lock()
        """Held to ensure an Expo image, because previews and checks share it."""

    async def postgres(
        self, supervisor: Supervisor, on_status: OnStatus
    ) -> tuple[PostgresAddress, str]:
        """Start Postgres; returns its address, and how it runs in words. Raises ServiceError."""
        picked = await self.pick("postgres")
        try:
            address = await (await self._variant(picked.mode, supervisor)).start(on_status)
        except ServiceError as error:
            if picked.mode != "docker" or picked.is_settled:
                raise
            picked = Picked("embedded", error.message, False)
            address = await (await self._variant(picked.mode, supervisor)).start(on_status)
        self.modes.remember("postgres", picked.mode)
        return address, _in_words(picked)

    async def postgres_variant(self, supervisor: Supervisor) -> PostgresVariant:
        """Postgres as this home runs it, started or not. Raises ServiceError."""
        picked = await self.pick("postgres")
        return await self._variant(picked.mode, supervisor)

    async def pick(self, service: Service) -> Picked:
        """The mode of a service; the first engine that answers settles what was left open."""
        wanted = self._settings.postgres if service == "postgres" else self._settings.preview
        picked = self.modes.pick(service, wanted)
        if picked is not None:
            return picked
        try:
            await self.engine()
        except ServiceError as error:
            return Picked(self.modes.without_engine(service), error.message, False)
        return Picked("docker", "a Docker engine answers", False)

    async def engine(self) -> DockerEngine:
        """The container engine. Raises ServiceError if none answers."""
        if self._engine is None:
            from mobvibe_app.containers.engine import DockerEngine

            self._engine = await asyncio.to_thread(DockerEngine.connect)
            self.modes.remember_engine()
        return self._engine

    async def expo_image(self, starter: Starter) -> ExpoImage:
        """The image that an SDK's previews and checks run in, which may not be built. Raises ServiceError."""
        from mobvibe_app.preview.providers.expo_image import ExpoImage

        return ExpoImage(
            await self.engine(),
            self.modes.home_id(),
            starter.sdk,
            starter.files("Warm-up", "warm-up"),
            base=self._settings.expo_base_image,
            ca_bundle=self._settings.ca_bundle,
        )

    def sandbox(self, on_status: OnStatus) -> Sandbox | None:
        """What isolates the worker's checks; None if the settings want them as processes."""
        if self._settings.checks == "process":
            return None
        from mobvibe_app.checks.sandbox import CheckSandbox

        is_wanted = self._settings.checks == "docker"
        return CheckSandbox(
            lambda starter: self.check_image(starter, on_status, is_wanted=is_wanted),
            is_required=is_wanted,
        )

    async def check_image(
        self, starter: Starter, on_status: OnStatus, *, is_wanted: bool
    ) -> CheckImage:
        """The image that checks run in, built if the engine lacks it.

        Raises ServiceError if there is no engine, or if previews run as processes and the image is not `is_wanted`.
        """
        from mobvibe_app.checks.container import CheckImage

        async with self.building:
            picked = await self.pick("preview")
            if picked.mode != "docker" and not is_wanted:
                raise ServiceError(
                    f"Previews run as processes here ({picked.why}).",
                    "Set MOBVIBE_CHECKS=docker to run the checks in containers nevertheless.",
                )
            tag = await (await self.expo_image(starter)).ensure(on_status)
            return CheckImage(await self.engine(), self.modes.home_id(), tag)

    async def remove_images(self) -> tuple[str, ...]:
        """Remove the Expo images of this home that no container uses; returns their names. Raises ServiceError."""
        if not self.modes.has_used_engine():
            return ()
        images, home_id = (await self.engine()).images, self.modes.home_id()
        removed = []
        for image in await asyncio.to_thread(images.labelled, home_id):
            if await asyncio.to_thread(images.remove, image.id):
                removed.append(f"the image {(image.tags or (image.id,))[0]}")
        return tuple(removed)

    async def remove_all(self) -> Removed | None:
        """Remove everything that the engine keeps for this home; None if it never used one. Raises ServiceError."""
        if not self.modes.has_used_engine():
            return None
        engine = await self.engine()
        return await asyncio.to_thread(engine.remove_labelled, self.modes.home_id())

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    async def _variant(self, mode: Mode, supervisor: Supervisor) -> PostgresVariant:
        if mode == "docker":
            from mobvibe_app.postgres.container import PostgresContainer

            return PostgresContainer(
                self._home,
                supervisor,
                await self.engine(),
                self.modes.home_id(),
                image=self._settings.postgres_image,
                port=self._settings.postgres_port,
            )
        await self._refuse_two(supervisor)
        return EmbeddedPostgres(self._home, supervisor, port=self._settings.postgres_port)

    async def _refuse_two(self, supervisor: Supervisor) -> None:
        running = await supervisor.running("postgres")
        if running is not None and running.facts.get("mode") == "docker":
            raise ServiceError(
                "This home's Postgres is running in Docker.",
                "Run `mobvibe-tui down` first, then start with --postgres embedded.",
            )


def _in_words(picked: Picked) -> str:
    return f"{picked.mode} ({picked.why})" if picked.why != "as before" else picked.mode
