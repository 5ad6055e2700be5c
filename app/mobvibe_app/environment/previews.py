"""Serves projects: prepares what an SDK's previews need, in containers or as processes, and starts their Metro."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.network import lan_address
from mobvibe_app.preview.providers.local import PreviewService, RunningPreview, running_previews
from mobvibe_app.preview.providers.process import ProcessPreview
from mobvibe_app.preview.status import no_preview_yet, preview_status
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home

if TYPE_CHECKING:
    from mobvibe_app.environment.services import Services
    from mobvibe_app.environment.starters import Starters
    from mobvibe_app.settings import AppSettings
    from mobvibe_app.supervisor.client import Supervisor
    from mobvibe_worker.jobs import Platform, SessionId
    from mobvibe_worker.toolchain.node import Node
    from mobvibe_worker.toolchain.starter import Starter

_BROWSERS = "Opens in any browser of this network."


class Previews:
    """The previews of one home. `supervisor` returns the supervisor that the home has now."""

    def __init__(
        self,
        settings: AppSettings,
        services: Services,
        starters: Starters,
        supervisor: Callable[[], Awaitable[Supervisor]],
        on_status: OnStatus,
    ) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._services = services
        self._starters = starters
        self._supervisor = supervisor
        self._on_status = on_status
        self._known: dict[tuple[Supervisor, int], PreviewService] = {}
        self._has_served = False

    async def serve(
        self, session_id: SessionId, slug: str, version: int, platform: Platform = "mobile"
    ) -> PreviewAddress:
        """Start the Metro of a project's served folder, or find it running.

        Raises MobvibeError, which the caller reports as the preview's status.
        """
        starter, _ = await self._starters.get(version)
        address = lan_address(self._settings.host)
        self._on_status(preview_status(slug))
        previews = await self.of_sdk(version, is_launching=True)
        served = await previews.start(slug, address=address, port=self._settings.preview_port)
        self._has_served = True
        is_web = platform == "web"
        shown_at = PreviewAddress(
            session_id=session_id,
            url=served.metro_url if is_web else f"exp://{address}:{served.port}",
            sdk=version,
            expo_go=_BROWSERS if is_web else starter.sdk.expo_go,
            metro_url=served.metro_url,
            mode=previews.mode,
            slug=slug,
            platform=platform,
        )
        self._on_status(preview_status(slug, address=shown_at))
        return shown_at

    async def of_sdk(self, version: int, *, is_launching: bool = False) -> PreviewService:
        """The previews of an SDK's projects. The first call prepares what they need. Raises ServiceError.

        With `is_launching` an image that was removed since is rebuilt, because a preview is about to start.
        """
        starter, node = await self._starters.get(version)
        supervisor = await self._supervisor()
        async with self._services.building:
            known = self._known.get((supervisor, version))
            if known is None:
                known = await self._prepare(supervisor, starter, node)
                self._known[supervisor, version] = known
            elif is_launching and known.mode == "docker":
                await (await self._services.expo_image(starter)).ensure(self._on_status)
            return known

    async def running(self) -> list[RunningPreview]:
        """The previews that run in this home now, in order of start. Raises ServiceError."""
        return await running_previews(await self._supervisor())

    async def warm(self, version: int) -> None:
        """Fill the transform cache and build the Expo image in the background, so that first bundles take seconds.

        Raises ServiceError.
        """
        starter, _ = await self._starters.get(version)
        previews = await self.of_sdk(version)
        # Previews and checks in containers use the cache of their image.
        is_used = previews.mode == "process" or self._settings.checks == "process"
        if is_used and not starter.is_warm:
            self._on_status(
                ServiceStatus("starter", "starting", f"SDK {version}: warming the bundler")
            )
            await starter.warm()
            self._on_status(ServiceStatus("starter", "healthy", f"SDK {version}"))
        if not self._has_served:
            self._on_status(no_preview_yet(f"app ({previews.mode})"))

    async def rebuild(self, version: int) -> None:
        """Rebuild the image of an SDK, or the transform cache if its previews are processes. Raises ServiceError."""
        starter, _ = await self._starters.get(version)
        if (await self._services.pick("preview")).mode != "docker":
            starter.forget_warmth()
            await self.warm(version)
            return
        async with self._services.building:
            image = await self._services.expo_image(starter)
            await image.ensure(self._on_status, is_fresh=True)

    async def _prepare(
        self, supervisor: Supervisor, starter: Starter, node: Node
    ) -> PreviewService:
        picked = await self._services.pick("preview")
        if picked.mode == "docker":
            try:
                return await self._in_containers(supervisor, starter)
            except ServiceError as error:
                if picked.is_settled:
                    raise
                self._on_status(ServiceStatus("preview", "starting", f"process: {error.message}"))
        elif picked.is_settled:
            self._services.modes.remember("preview", "process")
        return ProcessPreview(self._home, supervisor, node, starter.sdk)

    async def _in_containers(self, supervisor: Supervisor, starter: Starter) -> PreviewService:
        from mobvibe_app.preview.providers.container import ContainerPreview
        from mobvibe_app.preview.providers.extra_packages import ExtraPackages

        engine = await self._services.engine()
        tag = await (await self._services.expo_image(starter)).ensure(self._on_status)
        manifest = starter.files("Warm-up", "warm-up")["package.json"]
        previews = ContainerPreview(
            self._home,
            supervisor,
            starter.sdk,
            engine,
            home_id=self._services.modes.home_id(),
            image=tag,
            extra=ExtraPackages(engine, manifest, self._settings.ca_bundle, self._on_status),
        )
        await previews.remove_strays()
        self._services.modes.remember("preview", "docker")
        return previews
