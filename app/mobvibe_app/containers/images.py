"""The engine's images: found, pulled with progress, built from a context of files, removed."""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import docker
from docker.errors import APIError, ImageNotFound

from mobvibe_app.containers.failures import GONE, missing, refusal, translated, unavailable
from mobvibe_app.containers.spec import HOME_LABEL
from mobvibe_app.status import OnStatus, ServiceName, ServiceStatus
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.sanitize import clean_text

_SILENT_SECONDS = 180
_LAST_CHARACTERS = 4_000
_REPORT_SECONDS = 0.1
"""Between two progress reports of a pull."""

OnLine = Callable[[str], None]


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
        """An image by its name or id; None if the engine lacks it."""
        with translated(self._address, f"look for the image {image}"):
            try:
                return _found(self._client.images.get(image))
            except ImageNotFound:
                return None

    def labelled(self, home: str) -> tuple[FoundImage, ...]:
        with translated(self._address, "list its images"):
            filters = {"label": f"{HOME_LABEL}={home}"}
            return tuple(_found(one) for one in self._client.images.list(filters=filters))

    def pull(self, image: str, service: ServiceName, on_status: OnStatus) -> None:
        """Fetch an image; `on_status` gets the progress as the status of the service that waits for it.

        Raises ImageMissing, DiskFull, EngineUnavailable.
        """
        progress = _PullProgress(image, service, on_status)
        try:
            repository, tag = docker.utils.parse_repository_tag(image)
            for line in self._client.api.pull(
                repository, tag=tag or "latest", stream=True, decode=True
            ):
                if "error" in line:
                    raise missing(image, str(line["error"]))
                progress.add(line)
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
        is_fresh: bool = False,
    ) -> None:
        """Build an image from a context of files, `Dockerfile` among them. Half-built containers are removed.

        `is_fresh` reuses no step of an earlier build. What `on_line` raises ends the build. Raises ServiceError if a
        step fails, or the build takes longer than `time_limit` seconds.
        """
        deadline = time.monotonic() + time_limit
        with translated(self._address, f"build {tag}"), contextlib.ExitStack() as stack:
            lines = self._client.api.build(
                fileobj=tar_of(files),
                custom_context=True,
                tag=tag,
                buildargs=dict(arguments),
                labels=dict(labels),
                rm=True,
                forcerm=True,
                nocache=is_fresh,
                decode=True,
                timeout=_SILENT_SECONDS,
            )
            stack.callback(lines.close)  # The engine ends a build if its output is no longer read.
            for printed in _steps(tag, lines):
                on_line(printed)
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"The image {tag} was not built within {time_limit:.0f} s.",
                        "Check the network and npm's registry setting, then try again.",
                    )

    def remove(self, image: str) -> bool:
        """Remove an image; False if a container still needs it, or there is none."""
        with translated(self._address, f"remove the image {image}"):
            try:
                self._client.images.remove(image)
            except ImageNotFound:
                return False
            except APIError as error:
                if error.status_code == 409:
                    return False
                raise
            return True


def tar_of(files: Mapping[str, bytes]) -> io.BytesIO:
    """A tar of plain files, as the engine takes them; the same bytes for the same files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    tar.seek(0)
    return tar


def _steps(tag: str, lines: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """What a build prints. Raises ServiceError with the end of it when a step fails."""
    last = ""
    for line in lines:
        if "error" in line:
            raise refusal(f"build {tag}", _why(str(line["error"]), last))
        printed = str(line.get("stream", ""))
        last = (last + printed)[-_LAST_CHARACTERS:]
        yield printed


def _why(error: str, printed: str) -> str:
    """The errors that a failed step printed, if the engine itself only gives its command and exit code."""
    if "non-zero code" not in error:
        return error
    lines = [line.strip() for line in clean_text(printed).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() and "complete log" not in line]
    return " ".join(errors[-3:] or lines[-1:]) or error


class _PullProgress:
    """Sums up the engine's lines about each layer, and reports the sum every now and then."""

    def __init__(self, image: str, service: ServiceName, on_status: OnStatus) -> None:
        self._image = image
        self._service = service
        self._on_status = on_status
        self._layers: dict[str, tuple[int, int]] = {}
        self._reported_at = -_REPORT_SECONDS

    def add(self, line: Mapping[str, object]) -> None:
        status, layer = line.get("status"), str(line.get("id", ""))
        detail = line.get("progressDetail")
        counts = detail if isinstance(detail, dict) else {}
        if status == "Downloading" and counts.get("total"):
            self._layers[layer] = (int(counts["current"]), int(counts["total"]))
        elif status == "Download complete" and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        elif status != "Extracting" or not self._layers:
            return
        got, of = (sum(column) for column in zip(*self._layers.values(), strict=True))
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_SECONDS or got >= of:
            self._reported_at = now
            self._report(got, of, is_unpacking=status == "Extracting")

    def _report(self, got: int, of: int, *, is_unpacking: bool) -> None:
        words = f"{self._image}, {got / 1e6:.1f} of {of / 1e6:.1f} MB"
        self._on_status(
            ServiceStatus(
                self._service,
                "downloading",
                f"{words}, unpacking" if is_unpacking else words,
                progress=got / of,
                got_bytes=got,
                all_bytes=of,
            )
        )


def _found(image: docker.models.images.Image) -> FoundImage:
    variables = image.attrs["Config"].get("Env") or ()
    return FoundImage(
        id=str(image.id),
        tags=tuple(image.tags),
        labels=dict(image.labels or {}),
        environment=dict(entry.split("=", 1) for entry in variables),
        size=int(image.attrs.get("Size") or 0),
    )
