"""The image, the volume, the password and the container of one home's Postgres."""

from __future__ import annotations

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import ImageMissing
from mobvibe_app.containers.spec import (
    HOME_LABEL,
    SERVICE_LABEL,
    SPEC_LABEL,
    ContainerSpec,
    Mount,
    PublishedPort,
)
from mobvibe_app.postgres.variant import DATABASE, HOST, NAME, USER, create_password
from mobvibe_app.status import OnStatus, ServiceStatus
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home

STOP_SECONDS = 30
_MAJOR_LABEL = "dev.mobvibe.postgres-major"
_PASSWORD_PLACE = "/mobvibe-password"
# The image starts as root to own its folders, then becomes the user postgres.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")


class PostgresParts:
    """The parts of one home's Postgres. Its calls block."""

    def __init__(self, home: Home, engine: DockerEngine, home_id: str, image: str) -> None:
        self._engine = engine
        self._home_id = home_id
        self._image = image
        self.password_path = home.secrets / "postgres-docker-password"
        self.container = f"mobvibe-{home_id}-{NAME}"
        self.volume = f"mobvibe-{home_id}-{NAME}"

    def prepare(self, on_status: OnStatus) -> None:
        """Provide the image, the volume and the password. Raises ServiceError."""
        self._ensure_image(on_status)
        found = self._engine.images.find(self._image)
        if found is not None:
            self._ensure_volume(found.environment.get("PG_MAJOR"))
        self.password()

    def pull(self, on_status: OnStatus) -> None:
        """Fetch the newest image of that name, or keep the present one without a network. Raises ServiceError."""
        try:
            self._engine.images.pull(self._image, NAME, on_status)
        except ImageMissing:
            if self._engine.images.find(self._image) is None:
                raise
            words = f"{self._image} stays as it is, because no newer one can be fetched"
            on_status(ServiceStatus(NAME, "starting", words))

    def ensure_container(self, port: int) -> None:
        """Keep the container if it is as it should be, else replace it. Raises ServiceError."""
        spec = self.spec(port)
        found = self._engine.find(self.container)
        if found is not None and found.labels.get(SPEC_LABEL) == spec.fingerprint:
            return
        if found is not None:
            self._engine.stop(self.container, STOP_SECONDS)
        self._engine.create(spec)
        try:
            self._engine.put_file(self.container, _PASSWORD_PLACE, self.password().encode())
        except ServiceError:
            # Without its password it would never start, yet look like the right one.
            self._engine.remove(self.container)
            raise

    def is_running(self) -> bool:
        """Whether the container runs, even without the supervisor."""
        found = self._engine.find(self.container)
        return found is not None and found.is_running

    def spec(self, port: int) -> ContainerSpec:
        """The container as the official image expects it. Since 18 the data is one level higher."""
        return ContainerSpec(
            name=self.container,
            image=self._image,
            labels=self._labels(),
            environment={
                "POSTGRES_USER": USER,
                "POSTGRES_DB": DATABASE,
                "POSTGRES_PASSWORD_FILE": _PASSWORD_PLACE,
            },
            mounts=(Mount(self.volume, "/var/lib/postgresql", "volume"),),
            ports=(PublishedPort(5432, port, HOST),),
            capabilities=_CAPABILITIES,
            has_init=False,
            processes=512,
        )

    def remove_container(self) -> None:
        """Remove the container. The rows stay in the volume."""
        self._engine.remove(self.container)

    def remove(self) -> tuple[str, ...]:
        """Remove the container, the volume with all rows, and the password; returns what was removed."""
        self.remove_container()
        self._engine.remove_volume(self.volume)
        self.password_path.unlink(missing_ok=True)
        return (f"the container {self.container}", f"the volume {self.volume}")

    def password(self) -> str:
        """The server's password, generated once per home."""
        create_password(self.password_path)
        return self.password_path.read_text(encoding="utf-8").strip()

    def _labels(self) -> dict[str, str]:
        return {HOME_LABEL: self._home_id, SERVICE_LABEL: NAME}

    def _ensure_image(self, on_status: OnStatus) -> None:
        if self._engine.images.find(self._image) is not None:
            return
        try:
            self._engine.images.pull(self._image, NAME, on_status)
        except ImageMissing:
            # A container that exists starts without its image.
            if self._engine.find(self.container) is None:
                raise
            on_status(
                ServiceStatus(NAME, "starting", "its image is missing, but its container is there")
            )

    def _ensure_volume(self, major: str | None) -> None:
        if not major:
            raise ServiceError(
                f"{self._image} is not an image of Postgres, because it does not name its version (PG_MAJOR).",
                "Set MOBVIBE_POSTGRES_IMAGE to postgres:18, or to an image based on it.",
            )
        labels = self._engine.volume_labels(self.volume)
        if labels is None:
            self._engine.create_volume(self.volume, {**self._labels(), _MAJOR_LABEL: major})
        elif labels.get(_MAJOR_LABEL) != major:
            old = labels.get(_MAJOR_LABEL)
            raise ServiceError(
                f"The volume {self.volume} holds the data of Postgres {old}, and {self._image} is {major}.",
                f"Set MOBVIBE_POSTGRES_IMAGE=postgres:{old}, dump the database, remove the volume, "
                "then load the dump with the new image.",
            )
