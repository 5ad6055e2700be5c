"""The address under which a phone in the same network reaches this machine."""

from __future__ import annotations

import ipaddress
import socket

from mobvibe_worker.errors import InputError

LOOPBACK = "127.0.0.1"
_SOMEWHERE_PUBLIC = ("198.51.100.1", 9)
"""A documentation address: connecting a UDP socket asks the routing table and sends nothing."""
_INNER_INTERFACES = ("lo", "docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "podman", "cni")
_INNER_NETWORKS = (ipaddress.ip_network("172.17.0.0/16"), ipaddress.ip_network("169.254.0.0/16"))


def lan_address(override: str | None = None) -> str:
    """The IPv4 address that the default route leaves from, else another interface's; 127.0.0.1 where there is none.

    `override` is taken as it is. Raises InputError where that is neither an address nor a known host name.
    """
    if override is not None:
        return _checked(override)
    candidates = [_address_of_default_route(), *_interface_addresses()]
    return next((found for found in candidates if found and is_reachable(found)), LOOPBACK)


def is_reachable(host: str) -> bool:
    """Whether a phone could reach that address: not this machine's own or a container network's."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    is_inner = any(address in network for network in _INNER_NETWORKS)
    return not (address.is_loopback or address.is_unspecified or is_inner)


def _checked(host: str) -> str:
    try:
        socket.getaddrinfo(host, None, family=socket.AF_INET)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{host!r} is no address of this machine.", "Give an IPv4 address such as 192.168.1.20."
        ) from error
    return host


def _address_of_default_route() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE_PUBLIC)
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _interface_addresses() -> list[str]:
    """Addresses of interfaces that are up; private ones first, as a phone sits in a private network."""
    import psutil

    states = psutil.net_if_stats()
    found = [
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        if not name.startswith(_INNER_INTERFACES) and name in states and states[name].isup
        for address in addresses
        if address.family == socket.AF_INET
    ]
    return sorted(found, key=lambda address: not ipaddress.ip_address(address).is_private)
