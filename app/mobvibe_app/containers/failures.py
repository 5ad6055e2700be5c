"""The Docker SDK's errors as ours: what happened in one sentence, and what to do next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound

from mobvibe_worker.errors import DiskFull, PortTaken, ServiceError

GONE = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ReadTimeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
"""What the SDK raises once the engine has gone, even in the middle of an answer."""

_PORT = ("port is already allocated", "address already in use", "ports are not available")
_FULL = ("no space left on device", "disk quota exceeded", "not enough space")
_FOLDER = ("bind source path does not exist", "mounts denied", "not shared from the host")
_IMAGE = ("no such image",)
_SILENT = ("timed out", "timeout")
_NETWORK = (
    "no such host",
    "connection refused",
    "timeout",
    "deadline exceeded",
    "network is unreachable",
    "no route to host",
    "server misbehaving",
    "x509",
    "eof",
)
_WITHOUT = "go on without: --postgres embedded --preview process"


class EngineUnavailable(ServiceError):
    """No Docker engine answers."""


class ImageMissing(ServiceError):
    """The image is not there."""


class FolderUnseen(ServiceError):
    """The engine cannot see a folder of this machine."""


@contextlib.contextmanager
def translated(address: str, what: str, image: str = "") -> Iterator[None]:
    """Translates the SDK's errors. `what` is a verb and its object, `image` the image that it needs.

    Raises EngineUnavailable, ImageMissing, PortTaken, DiskFull, FolderUnseen or another ServiceError.
    """
    try:
        yield
    except GONE as error:
        raise unavailable(address, str(error)) from error
    except ImageNotFound as error:
        raise missing(image, str(error.explanation or error)) from error
    except APIError as error:
        raise refusal(what, str(error.explanation or error)) from error
    except DockerException as error:
        raise EngineUnavailable(f"Docker failed to {what}: {error}.", "Try again.") from error


def unavailable(address: str, reason: str) -> EngineUnavailable:
    """The error when no engine answers at that address."""
    words = reason.lower()
    if "permission denied" in words:
        return EngineUnavailable(
            f"The Docker engine at {address} refuses this user.",
            f"Add yourself to the group docker and log in again, or {_WITHOUT}.",
        )
    if any(part in words for part in _SILENT):
        return EngineUnavailable(
            f"The Docker engine at {address} did not answer in time.",
            f"Try again; if that fails too, restart Docker, or {_WITHOUT}.",
        )
    return EngineUnavailable(
        f"No Docker engine answers at {address}.", f"Start Docker, or {_WITHOUT}."
    )


def wrong_host(host: str) -> EngineUnavailable:
    """The error when DOCKER_HOST is not an address."""
    return EngineUnavailable(
        f"DOCKER_HOST ({host}) is not the address of a Docker engine.",
        f"Unset it, or write it as unix:///var/run/docker.sock; or {_WITHOUT}.",
    )


def wrong_context(name: str) -> EngineUnavailable:
    """The error when DOCKER_CONTEXT, or docker's current context, cannot be used."""
    return EngineUnavailable(
        f"Docker's context {name} cannot be used.",
        f"`docker context ls` shows which there are, `docker context use NAME` chooses one; or {_WITHOUT}.",
    )


def elsewhere(address: str) -> EngineUnavailable:
    """The error when the engine is on another machine."""
    return EngineUnavailable(
        f"The Docker engine at {address} is on another machine: it cannot see this one's folders, "
        "and its ports are not this one's.",
        f"Use an engine of this machine (unset DOCKER_HOST, or another context), or {_WITHOUT}.",
    )


def refusal(what: str, reason: str) -> ServiceError:
    """The error when the engine did not do `what` (a verb and its object)."""
    words = reason.lower()
    if any(part in words for part in _PORT):
        return PortTaken(f"Docker could not {what}: the port is taken.", "Set another port.")
    if any(part in words for part in _FULL):
        return _full(what)
    if any(part in words for part in _FOLDER):
        return FolderUnseen(
            f"Docker could not {what}: its engine cannot see this machine's folder ({_last(reason)}).",
            "Let the engine share that folder (Docker Desktop: Settings, Resources, File sharing; "
            f"Colima: --mount), choose another with --home, or {_WITHOUT}.",
        )
    return ServiceError(
        f"Docker could not {what}: {reason[-300:]}", "See docs/containers.md, then try again."
    )


def missing(image: str, reason: str) -> ServiceError:
    """The error when an image could not be fetched."""
    words = reason.lower()
    if any(part in words for part in _FULL):
        return _full(f"fetch {image}")
    if any(part in words for part in _IMAGE):
        return ImageMissing(
            f"The image {image} is gone from the Docker engine.",
            "Start it again to have the image rebuilt.",
        )
    if any(part in words for part in _NETWORK):
        return ImageMissing(
            f"The image {image} is not here, and its registry does not answer.",
            f"Connect to the network and try again, or {_WITHOUT}.",
        )
    return ImageMissing(
        f"The image {image} cannot be fetched: {reason[-200:]}",
        f"Check its name, or {_WITHOUT}.",
    )


def _full(what: str) -> DiskFull:
    return DiskFull(
        f"Docker could not {what}: its disk is full.",
        "Free some space (`docker system df` shows what takes it, `docker system prune` frees it), "
        f"then try again, or {_WITHOUT}.",
    )


def _last(reason: str) -> str:
    """The folder, which the engine names last."""
    return reason.rstrip(" .\"')").rpartition(": ")[2][-200:]
