"""Which container engine to use, as DOCKER_HOST, DOCKER_CONTEXT or Docker's current context says."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any
from urllib.parse import urlsplit

import docker
from docker.context import ContextAPI
from docker.errors import DockerException

from mobvibe_app.containers.failures import wrong_context, wrong_host

_CONNECT_SECONDS = 10
_SCHEMES = ("unix", "http+unix", "npipe", "tcp", "http", "https", "ssh")


def endpoint() -> tuple[str, dict[str, Any]]:
    """The engine's address, and the SDK's options to connect. Raises EngineUnavailable if its setting is invalid."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        try:
            if urlsplit(host).scheme not in _SCHEMES:
                raise wrong_host(host)
            options = docker.utils.kwargs_from_env()
        except (DockerException, ValueError) as error:
            raise wrong_host(host) from error
        return str(options["base_url"]), options
    name = os.environ.get("DOCKER_CONTEXT") or None
    try:
        context = ContextAPI.get_context(name)
    except (DockerException, OSError, ValueError) as error:
        raise wrong_context(name or "default") from error
    if context is None:
        raise wrong_context(name or "default")
    return str(context.Host), {"base_url": context.Host, "tls": context.TLSConfig or False}


def is_local(address: str) -> bool:
    """Whether the engine is on this machine: it then sees our folders and publishes on our addresses."""
    parts = urlsplit(address)
    if parts.scheme in ("unix", "npipe", "http+unix"):
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost" and parts.scheme != "ssh"


def knock(address: str) -> None:
    """Raise OSError if nothing listens on the engine's Unix socket: the SDK would leave its own socket open."""
    parts = urlsplit(address)
    if parts.scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            probe.connect(parts.path or f"/{parts.netloc}")
