"""What the engine of containers means when it refuses: one sentence, and what to do next."""

from __future__ import annotations

from mobvibe_worker.errors import ServiceError

_PORT = ("port is already allocated", "address already in use", "ports are not available")
_FULL = ("no space left on device", "disk quota exceeded")
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


class PortTaken(ServiceError):
    """The port is taken."""


class ImageMissing(ServiceError):
    """The image is not there."""


def unavailable(address: str, reason: str) -> EngineUnavailable:
    """Why no engine answers at that address."""
    if "permission denied" in reason.lower():
        return EngineUnavailable(
            f"The Docker engine at {address} refuses this user.",
            f"Add yourself to the group docker and log in again, or {_WITHOUT}.",
        )
    return EngineUnavailable(
        f"No Docker engine answers at {address}.", f"Start Docker, or {_WITHOUT}."
    )


def refusal(what: str, reason: str) -> ServiceError:
    """Why the engine did not do `what` (a verb and its object)."""
    said = reason.lower()
    if any(words in said for words in _PORT):
        return PortTaken(f"Docker could not {what}: the port is taken.", "Set another port.")
    if any(words in said for words in _FULL):
        return ServiceError(
            f"Docker could not {what}: its disk is full.",
            "Free some space (`docker system df` shows what takes it), then try again.",
        )
    return ServiceError(
        f"Docker could not {what}: {reason[-300:]}", "See docs/containers.md, then try again."
    )


def missing(image: str, reason: str) -> ImageMissing:
    """Why an image could not be had."""
    if any(words in reason.lower() for words in _NETWORK):
        return ImageMissing(
            f"The image {image} is not here, and its registry does not answer.",
            f"Connect to the network and try again, or {_WITHOUT}.",
        )
    return ImageMissing(
        f"The image {image} cannot be had: {reason[-200:]}",
        f"Check its name, or {_WITHOUT}.",
    )
