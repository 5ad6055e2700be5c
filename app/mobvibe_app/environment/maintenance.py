"""Restarts, rebuilds or resets one service; the others keep running."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mobvibe_app.preview.network import lan_address
from mobvibe_app.preview.providers.local import RunningPreview, service_name
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_worker.errors import InputError, MobvibeError
from mobvibe_worker.home import Home
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.toolchain.sdks import sdk_versions

if TYPE_CHECKING:
    from mobvibe_app.environment.environment import Environment

POSTGRES: Final = "postgres"
PREVIEW: Final = "preview"
STARTER: Final = "starter"


class Maintenance:
    """Acts on `postgres`, `starter` or `preview-NAME`; the name `preview` means all previews of the home."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._settings = settings = environment.settings
        self._services = environment.services
        self._previews = environment.previews
        self._home = Home(settings.home)

    async def restart(self, name: str) -> None:
        """Stop what runs by that name and start it again. Raises InputError if it does not run, ServiceError."""
        if name == POSTGRES:
            supervisor = await self._environment.supervisor()
            self._require_ours()
            if await supervisor.running(POSTGRES) is None:
                raise _not_running(name)
            await (await self._services.postgres_variant(supervisor)).stop(quietly=True)
            await self._environment.start()
            self._environment.report(ServiceStatus(POSTGRES, "healthy", "restarted"))
            return
        if name == STARTER:
            raise InputError(
                "The starter cannot be restarted, because it is not a running program.",
                "`mobvibe-tui rebuild starter` installs it again.",
            )
        running = await self._running(name)
        if not running:
            raise _not_running(name)
        for preview in running:
            await self._serve_again(preview)

    async def start_again(self, project_slug: str) -> None:
        """Stop a project's preview, so that opening it starts a new one. Idempotent. Raises ServiceError."""
        supervisor = await self._environment.supervisor()
        await supervisor.stop(service_name(project_slug), quietly=True)

    async def rebuild(self, name: str) -> None:
        """Rebuild the images, packages and caches that it runs from, and restart what runs. No data is lost.

        Raises InputError, ServiceError.
        """
        if name == POSTGRES:
            await self._rebuild_postgres()
            return
        running = await self._running(PREVIEW if name == STARTER else name)
        versions = {preview.sdk for preview in running} or {self._settings.sdk}
        for version in sorted(versions):
            if name == STARTER:
                starter, _ = await self._environment.starters.get(version)
                starter.forget()
                await self._environment.starters.get(version, is_fresh=True)
            else:
                await self._previews.rebuild(version)
        for preview in running:
            await self._serve_again(preview)

    def consequence(self, name: str) -> str:
        """What `reset` of that name deletes, in a sentence. Raises InputError for an unknown name."""
        if name == POSTGRES:
            self._require_ours()
            return "Every project, session and event of this home will be gone; the served folders stay."
        if name == STARTER:
            return "Expo's packages and the transform cache of this home are deleted, and installed again when needed."
        self._require_preview(name)
        return (
            "What was built for previews is deleted and built again when needed: minutes, the first time."
            if name == PREVIEW
            else "The preview's port, log and container are forgotten; the app itself stays."
        )

    async def database(self) -> str | None:
        """The address of this home's Postgres, a secret; None if it does not run or answer. Starts nothing."""
        if not any(service.name == POSTGRES for service in await self._environment.running()):
            return None
        try:
            dsn = self._settings.session_url(await self._environment.start())
            await (await connect(dsn)).close()
        except MobvibeError:
            return None
        return dsn

    async def reset(self, name: str) -> tuple[str, ...]:
        """Stop it and delete its data, so that the next start begins from nothing; returns what was deleted.

        Raises InputError, ServiceError.
        """
        self.consequence(name)
        supervisor = await self._environment.supervisor()
        if name == POSTGRES:
            postgres = await self._services.postgres_variant(supervisor)
            await postgres.stop()
            return await postgres.reset()
        running = await self._running(PREVIEW if name == STARTER else name)
        for preview in running:
            await supervisor.stop(preview.name)
        if name == STARTER:
            return await self._remove_starters()
        deleted = self._forget_previews(name)
        if name == PREVIEW and self._services.modes.chosen(PREVIEW) == "docker":
            deleted += await self._services.remove_images()
        return deleted

    async def _rebuild_postgres(self) -> None:
        self._require_ours()
        supervisor = await self._environment.supervisor()
        is_running = await supervisor.running(POSTGRES) is not None
        await (await self._services.postgres_variant(supervisor)).rebuild(self._environment.report)
        if is_running:
            await self._environment.start()
            self._environment.report(ServiceStatus(POSTGRES, "healthy", "rebuilt"))

    async def _serve_again(self, preview: RunningPreview) -> None:
        previews = await self._previews.of_sdk(preview.sdk, is_launching=True)
        await (await self._environment.supervisor()).stop(preview.name, quietly=True)
        address = lan_address(self._settings.host)
        port = self._settings.preview_port
        await previews.start(preview.slug, address=address, port=port)

    async def _running(self, name: str) -> list[RunningPreview]:
        self._require_preview(name)
        running = await self._previews.running()
        return [preview for preview in running if name in (PREVIEW, preview.name)]

    async def _remove_starters(self) -> tuple[str, ...]:
        deleted = []
        for version in sdk_versions():
            folder = self._home.sdk(version)
            if folder.modules.exists():
                starter, _ = await self._environment.starters.get(version)
                await asyncio.to_thread(starter.remove)
                deleted.append(f"the packages and the cache of SDK {version}")
        return tuple(deleted)

    def _forget_previews(self, name: str) -> tuple[str, ...]:
        choices, prefix = Choices(self._home.choices), service_name("")
        names = [one for one in choices.ports() if one.startswith(prefix)]
        logs = {log.stem for log in self._home.logs.glob(f"{prefix}*.log")}
        wanted = sorted({one for one in {*names, *logs} if name in (PREVIEW, one)})
        for one in wanted:
            choices.forget_port(one)
            (self._home.logs / f"{one}.log").unlink(missing_ok=True)
        return tuple(f"the port and the log of {one}" for one in wanted)

    def _require_ours(self) -> None:
        if self._settings.database_url is not None:
            raise InputError(
                "DATABASE_URL names a Postgres that mobvibe-tui does not run.",
                "Manage it where it runs; `mobvibe-tui db reset` empties its schema.",
            )

    def _require_preview(self, name: str) -> None:
        if name != PREVIEW and not name.startswith(service_name("")):
            raise InputError(
                f"There is no service {name!r}.",
                "The services are postgres, starter, preview (all of them) and preview-NAME; see `mobvibe-tui status`.",
            )


def _not_running(name: str) -> InputError:
    return InputError(f"{name} does not run.", "`mobvibe-tui status` shows what does.")
