"""The container engine: its containers, volumes and networks. All calls block, so use threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import docker
import requests
from docker.errors import DockerException, NotFound
from docker.types import LogConfig

from mobvibe_app.containers.attached import AttachedContainers, remove_container
from mobvibe_app.containers.counters import Counters, read_counters
from mobvibe_app.containers.endpoint import endpoint, is_local, knock
from mobvibe_app.containers.failures import elsewhere, translated, unavailable
from mobvibe_app.containers.images import EngineImages, tar_of
from mobvibe_app.containers.options import sealed_options
from mobvibe_app.containers.spec import (
    HOME_LABEL,
    ContainerSpec,
    FoundContainer,
    Removed,
)

_CALL_SECONDS = 120
_CONNECT_SECONDS = 10


class DockerEngine:
    """An engine that answered. Any call raises EngineUnavailable once it is gone."""

    def __init__(self, client: docker.DockerClient, address: str) -> None:
        self.address = address
        self.images = EngineImages(client, address)
        self.attached = AttachedContainers(client, address)
        self._client = client

    @classmethod
    def connect(cls) -> Self:
        """The engine that DOCKER_HOST, DOCKER_CONTEXT or Docker's current context names.

        Raises EngineUnavailable if none answers, it refuses this user, or it is on another machine.
        """
        address, options = endpoint()
        if not is_local(address):
            raise elsewhere(address)
        try:
            knock(address)
            client = docker.DockerClient(version="auto", timeout=_CONNECT_SECONDS, **options)
            client.api.timeout = _CALL_SECONDS
        except (DockerException, requests.exceptions.RequestException, OSError) as error:
            raise unavailable(address, str(error)) from error
        return cls(client, address)

    def version(self) -> str:
        """Its name and version: `Docker Engine 28.2`, `Podman Engine 4.3`."""
        with translated(self.address, "report its version"):
            answer = self._client.version()
        parts = [str(one.get("Name", "")) for one in answer.get("Components") or ()]
        name = parts[0] if parts and parts[0] != "Engine" else "Docker Engine"
        return f"{name} {answer.get('Version', '?')}"

    def close(self) -> None:
        self._client.close()

    def create(self, spec: ContainerSpec) -> None:
        """Create a container without starting it; one of that name is replaced. Raises ServiceError."""
        self.remove(spec.name)
        with translated(self.address, f"create {spec.name}", spec.image):
            self._client.containers.create(
                spec.image,
                **sealed_options(spec),
                log_config=LogConfig(type="json-file", config={"max-size": "5m", "max-file": "2"}),
            )

    def find(self, name: str) -> FoundContainer | None:
        with translated(self.address, f"look for {name}"):
            try:
                return _found(self._client.containers.get(name))
            except NotFound:
                return None

    def labelled(self, home: str) -> tuple[FoundContainer, ...]:
        """The containers of a home, running or not."""
        with translated(self.address, "list its containers"):
            return tuple(_found(one) for one in _all_of(self._client, home))

    def start(self, name: str) -> None:
        """Start a container; a running one is left alone. Raises PortTaken, ServiceError."""
        with translated(self.address, f"start {name}"):
            self._client.containers.get(name).start()

    def stop(self, name: str, seconds: int) -> None:
        """Ask a container to end, and kill it after `seconds`. Idempotent."""
        with translated(self.address, f"stop {name}"), contextlib.suppress(NotFound):
            self._client.containers.get(name).stop(timeout=seconds)

    def remove(self, name: str) -> None:
        """Kill and remove a container. Named volumes stay. Idempotent."""
        with translated(self.address, f"remove {name}"), contextlib.suppress(NotFound):
            remove_container(self._client.containers.get(name))

    def put_file(self, name: str, path: str, content: bytes) -> None:
        """Write a file into a container, running or not; `inspect` does not show it."""
        folder, _, file = path.rpartition("/")
        with translated(self.address, f"write into {name}"):
            archive = tar_of({file: content}).read()
            self._client.containers.get(name).put_archive(folder or "/", archive)

    def lines(self, name: str, since: float) -> Iterator[bytes]:
        """What a container prints since a Unix time, in pieces, until it ends."""
        with translated(self.address, f"follow {name}"):
            container = self._client.containers.get(name)
            yield from container.logs(stream=True, follow=True, since=since)

    def wait(self, name: str) -> int:
        """Wait until a container ends; its exit code."""
        with translated(self.address, f"wait for {name}"):
            return int(self._client.containers.get(name).wait(timeout=None)["StatusCode"])

    def counters(self, name: str) -> Counters | None:
        """What a running container has used so far; None if it does not run. Never waits for a second sample."""
        with translated(self.address, f"measure {name}"):
            try:
                container = self._client.containers.get(name)
                if container.status != "running":
                    return None
                stats = self._client.api.stats(name, stream=False, one_shot=True)
                return read_counters(stats, container)
            except NotFound:
                return None

    def volume_labels(self, name: str) -> dict[str, str] | None:
        with translated(self.address, f"look for the volume {name}"):
            try:
                return dict(self._client.volumes.get(name).attrs.get("Labels") or {})
            except NotFound:
                return None

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with translated(self.address, f"create the volume {name}"):
            self._client.volumes.create(name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a named volume with its content. Idempotent."""
        with translated(self.address, f"remove the volume {name}"), contextlib.suppress(NotFound):
            self._client.volumes.get(name).remove()

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a bridge network, if it is missing, in which containers do not reach each other."""
        with translated(self.address, f"create the network {name}"):
            if not self._client.networks.list(names=[f"^{name}$"]):
                self._client.networks.create(
                    name,
                    driver="bridge",
                    labels=dict(labels),
                    check_duplicate=True,
                    options={"com.docker.network.bridge.enable_icc": "false"},
                )

    def remove_labelled(self, home: str) -> Removed:
        """Remove the containers, networks, volumes and images that carry the home's label, and nothing else."""
        with translated(self.address, "remove what this home created"):
            containers = _all_of(self._client, home)
            for container in containers:
                remove_container(container)
            networks = self._client.networks.list(filters=_of(home))
            for network in networks:
                network.remove()
            volumes = self._client.volumes.list(filters=_of(home))
            for volume in volumes:
                volume.remove()
            images = self._client.images.list(filters=_of(home))
            for image in images:
                self._client.images.remove(image.id, force=True)
        return Removed(
            containers=_names(containers),
            networks=_names(networks),
            volumes=_names(volumes),
            images=tuple((image.tags or [image.short_id])[0] for image in images),
        )


def _all_of(client: docker.DockerClient, home: str) -> list[Any]:
    """The home's containers, except those that are being removed just now."""
    found: list[Any] = client.containers.list(all=True, filters=_of(home), ignore_removed=True)
    return found


def _of(home: str) -> dict[str, str]:
    return {"label": f"{HOME_LABEL}={home}"}


def _names(things: Iterable[Any]) -> tuple[str, ...]:
    return tuple(thing.name for thing in things)


def _found(container: Any) -> FoundContainer:
    return FoundContainer(
        container.id,
        container.name,
        container.status,
        dict(container.labels),
    )
