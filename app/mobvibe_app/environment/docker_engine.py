"""The engine of containers through the docker SDK, of which this is the only importer. Its calls block: use threads."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig
from docker.types import Mount as EngineMount

from mobvibe_app.environment.build_context import pack
from mobvibe_app.environment.container_spec import (
    HOME_LABEL,
    SPEC_LABEL,
    ContainerSpec,
    FoundContainer,
    Mount,
    Removed,
)
from mobvibe_app.environment.docker_faults import (
    EngineUnavailable,
    missing,
    refusal,
    unavailable,
)
from mobvibe_worker.errors import ServiceError

_CALL_SECONDS = 120
_CONNECT_SECONDS = 10
_SILENT_SECONDS = 180
_GONE = (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout)

OnBytes = Callable[[int, int], None]
OnLine = Callable[[str], None]


class DockerEngine:
    """One engine that answered. Raises EngineUnavailable from any call once it is gone."""

    def __init__(self, client: docker.DockerClient, address: str) -> None:
        self.address = address
        self._client = client

    @classmethod
    def connect(cls) -> Self:
        """The engine that DOCKER_HOST, DOCKER_CONTEXT or docker's own current context names.

        Raises EngineUnavailable where none answers, or refuses this user.
        """
        address = "DOCKER_HOST"
        try:
            address, options = _endpoint()
            _knock(address)
            client = docker.DockerClient(version="auto", timeout=_CONNECT_SECONDS, **options)
            client.api.timeout = _CALL_SECONDS
        except (DockerException, requests.exceptions.RequestException, OSError) as error:
            raise unavailable(address, str(error)) from error
        return cls(client, address)

    @property
    def is_local(self) -> bool:
        """It sees this machine's folders and publishes ports on this machine's addresses."""
        parts = urlsplit(self.address)
        if parts.scheme in ("unix", "npipe", "http+unix"):
            return True
        try:
            return ipaddress.ip_address(parts.hostname or "").is_loopback
        except ValueError:
            return parts.hostname == "localhost" and parts.scheme != "ssh"

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def image_id(self, image: str) -> str | None:
        """The id of an image that the engine has, or None."""
        with _told(self.address, f"look for the image {image}"):
            try:
                return str(self._client.images.get(image).id)
            except ImageNotFound:
                return None

    def image_environment(self, image: str) -> dict[str, str]:
        """The variables that the image sets. Raises ServiceError where the engine lacks it."""
        with _told(self.address, f"read the image {image}"):
            found = self._client.images.get(image).attrs["Config"].get("Env") or ()
            return dict(entry.split("=", 1) for entry in found)

    def pull(self, image: str, on_bytes: OnBytes) -> None:
        """Fetch an image; `on_bytes` hears (fetched, known so far). Raises ImageMissing."""
        layers: dict[str, tuple[int, int]] = {}
        try:
            repository, tag = docker.utils.parse_repository_tag(image)
            for told in self._client.api.pull(
                repository, tag=tag or "latest", stream=True, decode=True
            ):
                if "error" in told:
                    raise missing(image, str(told["error"]))
                detail = told.get("progressDetail") or {}
                if told.get("status") == "Downloading" and detail.get("total"):
                    layers[told["id"]] = (detail["current"], detail["total"])
                    fetched = [sum(column) for column in zip(*layers.values(), strict=True)]
                    on_bytes(fetched[0], fetched[1])
        except _GONE as error:
            raise unavailable(self.address, str(error)) from error
        except APIError as error:
            raise missing(image, str(error.explanation or error)) from error

    def build(
        self,
        tag: str,
        files: Mapping[str, bytes],
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        on_line: OnLine,
        time_limit: float,
    ) -> None:
        """Build an image from a context of files, `Dockerfile` among them. Half-built containers are removed.

        Raises ServiceError when a step fails, or when it takes longer than `time_limit` seconds.
        """
        deadline = time.monotonic() + time_limit
        with _told(self.address, f"build {tag}"):
            lines = self._client.api.build(
                fileobj=pack(files),
                custom_context=True,
                tag=tag,
                buildargs=dict(arguments),
                labels=dict(labels),
                rm=True,
                forcerm=True,
                decode=True,
                timeout=_SILENT_SECONDS,
            )
            for told in lines:
                if "error" in told:
                    raise refusal(f"build {tag}", str(told["error"]))
                on_line(str(told.get("stream", "")))
                if time.monotonic() > deadline:
                    lines.close()
                    raise ServiceError(
                        f"The image {tag} was not built within {time_limit:.0f} s.",
                        "Check the network and npm's registry setting, then try again.",
                    )

    def create(self, spec: ContainerSpec) -> None:
        """Make the container, not started; one of that name is replaced. Raises ServiceError."""
        self.remove(spec.name)
        with _told(self.address, f"make {spec.name}"):
            self._client.containers.create(
                spec.image,
                list(spec.command) or None,
                name=spec.name,
                environment=dict(spec.environment),
                labels={**spec.labels, SPEC_LABEL: spec.fingerprint},
                user=spec.user,
                mounts=[_mount(one) for one in spec.mounts],
                tmpfs=dict(spec.temporary),
                ports={f"{one.inside}/tcp": (one.address, one.outside) for one in spec.ports},
                network=spec.network,
                cap_drop=["ALL"],
                cap_add=list(spec.capabilities),
                security_opt=["no-new-privileges"],
                read_only=spec.is_read_only,
                mem_limit=spec.memory_bytes,
                memswap_limit=spec.memory_bytes,
                nano_cpus=None if spec.cpus is None else int(spec.cpus * 1e9),
                pids_limit=spec.processes,
                init=spec.has_init,
                log_config=LogConfig(type="json-file", config={"max-size": "5m", "max-file": "2"}),
            )

    def find(self, name: str) -> FoundContainer | None:
        """The container of that name, or None."""
        with _told(self.address, f"look for {name}"):
            try:
                return _found(self._client.containers.get(name))
            except NotFound:
                return None

    def labelled(self, home: str) -> tuple[FoundContainer, ...]:
        """The containers of a home, running or not."""
        with _told(self.address, "list its containers"):
            return tuple(
                _found(one) for one in self._client.containers.list(all=True, filters=_of(home))
            )

    def start(self, name: str) -> None:
        """Start a container; one that runs is left alone. Raises PortTaken, ServiceError."""
        with _told(self.address, f"start {name}"):
            self._client.containers.get(name).start()

    def stop(self, name: str, seconds: int) -> None:
        """Ask a container to end, kill it after `seconds`; harmless where it does not run."""
        with _told(self.address, f"stop {name}"), contextlib.suppress(NotFound):
            self._client.containers.get(name).stop(timeout=seconds)

    def remove(self, name: str) -> None:
        """Kill and remove a container; harmless where there is none. Named volumes stay."""
        with _told(self.address, f"remove {name}"), contextlib.suppress(NotFound):
            self._client.containers.get(name).remove(force=True, v=True)

    def put_file(self, name: str, path: str, content: bytes) -> None:
        """Write a file into a container that need not run: readable inside, invisible to `inspect`."""
        folder, _, file = path.rpartition("/")
        with _told(self.address, f"write into {name}"):
            archive = pack({file: content}).read()
            self._client.containers.get(name).put_archive(folder or "/", archive)

    def lines(self, name: str, since: float) -> Iterator[bytes]:
        """What a container prints from then (Unix time) on, in pieces, until it ends."""
        with _told(self.address, f"follow {name}"):
            container = self._client.containers.get(name)
            yield from container.logs(stream=True, follow=True, since=since)

    def wait(self, name: str) -> int:
        """Wait until a container ends; its exit code."""
        with _told(self.address, f"wait for {name}"):
            return int(self._client.containers.get(name).wait(timeout=None)["StatusCode"])

    def volume_labels(self, name: str) -> dict[str, str] | None:
        """The labels of a volume, or None where there is none."""
        with _told(self.address, f"look for the volume {name}"):
            try:
                return dict(self._client.volumes.get(name).attrs.get("Labels") or {})
            except NotFound:
                return None

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a named volume."""
        with _told(self.address, f"make the volume {name}"):
            self._client.volumes.create(name, labels=dict(labels))

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """A bridge of our own, in which containers do not reach each other."""
        with _told(self.address, f"make the network {name}"):
            if not self._client.networks.list(names=[f"^{name}$"]):
                self._client.networks.create(
                    name,
                    driver="bridge",
                    labels=dict(labels),
                    options={"com.docker.network.bridge.enable_icc": "false"},
                )

    def remove_labelled(self, home: str) -> Removed:
        """Remove exactly what carries the home's label: containers, networks, volumes, images."""
        with _told(self.address, "remove what this home made"):
            containers = self._client.containers.list(all=True, filters=_of(home))
            for container in containers:
                container.remove(force=True, v=True)
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


def _endpoint() -> tuple[str, dict[str, Any]]:
    """The engine's address, and how to speak to it."""
    if os.environ.get("DOCKER_HOST"):
        options = docker.utils.kwargs_from_env()
        return str(options["base_url"]), options
    context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT") or None)
    if context is None:
        raise DockerException("no such context")
    return str(context.Host), {"base_url": context.Host, "tls": context.TLSConfig or False}


def _knock(address: str) -> None:
    """Raises OSError where nothing listens on a socket of this machine: the SDK would leave its own open."""
    parts = urlsplit(address)
    if parts.scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            probe.connect(parts.path or f"/{parts.netloc}")


@contextlib.contextmanager
def _told(address: str, what: str) -> Iterator[None]:
    """The SDK's errors in our words."""
    try:
        yield
    except _GONE as error:
        raise unavailable(address, str(error)) from error
    except APIError as error:
        raise refusal(what, str(error.explanation or error)) from error
    except DockerException as error:
        raise EngineUnavailable(f"Docker failed to {what}: {error}.", "Try again.") from error


def _of(home: str) -> dict[str, str]:
    return {"label": f"{HOME_LABEL}={home}"}


def _names(things: Iterable[Any]) -> tuple[str, ...]:
    return tuple(thing.name for thing in things)


def _found(container: Any) -> FoundContainer:
    return FoundContainer(
        container.name, container.status, dict(container.labels), container.attrs["Image"]
    )


def _mount(mount: Mount) -> EngineMount:
    return EngineMount(mount.target, mount.source, mount.kind, read_only=mount.is_read_only)
