"""The engine's images: looked for, pulled with the bytes counted, built with what the build says, removed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import docker
from docker.errors import APIError, ImageNotFound

from mobvibe_app.containers.build_context import pack
from mobvibe_app.containers.calls import GONE, told
from mobvibe_app.containers.failures import missing, refusal, unavailable
from mobvibe_app.containers.spec import HOME_LABEL
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.sanitize import clean_text

_SILENT_SECONDS = 180
_LAST_CHARACTERS = 4_000

OnLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """How far a pull is, in bytes of its layers so far known; `phase` is downloading, then extracting."""

    phase: str
    got: int
    of: int


OnPulled = Callable[[Pulled], None]


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image as the engine has it now. `size` in bytes."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    size: int


class EngineImages:
    """The images of one engine. Its calls block."""

    def __init__(self, client: docker.DockerClient, address: str) -> None:
        self._client = client
        self._address = address

    def find(self, image: str) -> FoundImage | None:
        """An image by its name or id, or None where the engine lacks it."""
        with told(self._address, f"look for the image {image}"):
            try:
                return _found(self._client.images.get(image))
            except ImageNotFound:
                return None

    def labelled(self, home: str) -> tuple[FoundImage, ...]:
        """The images that a home made."""
        with told(self._address, "list its images"):
            filters = {"label": f"{HOME_LABEL}={home}"}
            return tuple(_found(one) for one in self._client.images.list(filters=filters))

    def pull(self, image: str, on_pulled: OnPulled) -> None:
        """Fetch an image. Raises ImageMissing, or ServiceError where the disk is full."""
        layers = _Layers()
        try:
            repository, tag = docker.utils.parse_repository_tag(image)
            for said in self._client.api.pull(
                repository, tag=tag or "latest", stream=True, decode=True
            ):
                if "error" in said:
                    raise missing(image, str(said["error"]))
                if (pulled := layers.hear(said)) is not None:
                    on_pulled(pulled)
        except GONE as error:
            raise unavailable(self._address, str(error)) from error
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
        is_anew: bool = False,
    ) -> None:
        """Build an image from a context of files, `Dockerfile` among them. Half-built containers are removed.

        `is_anew` takes no step from an earlier build. Raises ServiceError when a step fails, or when it takes longer
        than `time_limit` seconds; what `on_line` raises ends the build.
        """
        deadline = time.monotonic() + time_limit
        with told(self._address, f"build {tag}"), contextlib.ExitStack() as stack:
            lines = self._client.api.build(
                fileobj=pack(files),
                custom_context=True,
                tag=tag,
                buildargs=dict(arguments),
                labels=dict(labels),
                rm=True,
                forcerm=True,
                nocache=is_anew,
                decode=True,
                timeout=_SILENT_SECONDS,
            )
            stack.callback(lines.close)  # The engine ends a build that nobody listens to.
            for printed in _steps(tag, lines):
                on_line(printed)
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"The image {tag} was not built within {time_limit:.0f} s.",
                        "Check the network and npm's registry setting, then try again.",
                    )

    def remove(self, image: str) -> bool:
        """Remove an image; False where a container still needs it, or there is none."""
        with told(self._address, f"remove the image {image}"):
            try:
                self._client.images.remove(image)
            except ImageNotFound:
                return False
            except APIError as error:
                if error.status_code == 409:
                    return False
                raise
            return True


def _steps(tag: str, lines: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """What a build prints. Raises ServiceError with the last of it when a step fails."""
    last = ""
    for said in lines:
        if "error" in said:
            raise refusal(f"build {tag}", _why(str(said["error"]), last))
        printed = str(said.get("stream", ""))
        last = (last + printed)[-_LAST_CHARACTERS:]
        yield printed


def _why(error: str, printed: str) -> str:
    """What the step that failed said, where the engine only has its command and exit code."""
    if "non-zero code" not in error:
        return error
    lines = [line.strip() for line in clean_text(printed).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() and "complete log" not in line]
    return " ".join(errors[-3:] or lines[-1:]) or error


class _Layers:
    """Sums up what the engine says of each layer."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def hear(self, said: Mapping[str, object]) -> Pulled | None:
        """How far all are, where this line says something of it."""
        status, layer = said.get("status"), str(said.get("id", ""))
        detail = said.get("progressDetail")
        counts = detail if isinstance(detail, dict) else {}
        if status == "Downloading" and counts.get("total"):
            self._layers[layer] = (int(counts["current"]), int(counts["total"]))
        elif status == "Download complete" and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        elif status != "Extracting" or not self._layers:
            return None
        got, of = (sum(column) for column in zip(*self._layers.values(), strict=True))
        return Pulled("extracting" if status == "Extracting" else "downloading", got, of)


def _found(image: docker.models.images.Image) -> FoundImage:
    variables = image.attrs["Config"].get("Env") or ()
    return FoundImage(
        id=str(image.id),
        tags=tuple(image.tags),
        labels=dict(image.labels or {}),
        environment=dict(entry.split("=", 1) for entry in variables),
        size=int(image.attrs.get("Size") or 0),
    )
