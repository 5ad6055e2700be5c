"""This machine's address for phones in its network, and what stands between the two."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from mobvibe_app.preview.hints import PhoneRoute
from mobvibe_worker.errors import InputError

LOOPBACK = "127.0.0.1"
_SOMEWHERE_PUBLIC = ("198.51.100.1", 9)
"""A documentation address: connecting a UDP socket asks the routing table and sends nothing."""
_INNER_INTERFACES = ("lo", "docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "podman", "cni")
_INNER_NETWORKS = (ipaddress.ip_network("172.17.0.0/16"), ipaddress.ip_network("169.254.0.0/16"))
_TUNNELS = ("tun", "tap", "utun", "wg", "tailscale", "zt", "ppp", "nordlynx", "proton")
_CARRIER_GRADE = ipaddress.ip_network("100.64.0.0/10")
"""Tailscale uses these addresses too."""
_UFW = Path("/etc/ufw/ufw.conf")
_FIREWALLD = Path("/run/firewalld")


def lan_address(override: str | None = None) -> str:
    """The IPv4 address of the default route, else of another interface, else 127.0.0.1.

    `override` is returned unchanged. Raises InputError if it is neither an address nor a known host name.
    """
    if override is not None:
        return _checked(override)
    candidates = [_address_of_default_route(), *_interface_addresses()]
    return next((found for found in candidates if found and is_reachable(found)), LOOPBACK)


def is_reachable(address: str) -> bool:
    """Whether a phone could reach the address, because it is neither loopback nor in a container network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address != "localhost"
    is_inner = any(parsed in network for network in _INNER_NETWORKS)
    return not (parsed.is_loopback or parsed.is_unspecified or is_inner)


def find_route(address: str) -> PhoneRoute:
    """The interface that has this address, whether it is a VPN's, and which firewall is on."""
    interface = _interface_of(address)
    is_vpn = interface.startswith(_TUNNELS) or _is_carrier_grade(address)
    return PhoneRoute(interface, is_vpn, _active_firewall())


def _checked(override: str) -> str:
    try:
        socket.getaddrinfo(override, None, family=socket.AF_INET)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{override!r} is not an address of this machine.",
            "Give an IPv4 address such as 192.168.1.20.",
        ) from error
    return override


def _address_of_default_route() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE_PUBLIC)
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _interface_addresses() -> list[str]:
    """Addresses of interfaces that are up; private ones first, because phones are in private networks."""
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


def _interface_of(address: str) -> str:
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.family == socket.AF_INET and one.address == address for one in addresses):
            return str(name)
    return ""


def _is_carrier_grade(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in _CARRIER_GRADE
    except ValueError:
        return False


def _active_firewall() -> str:
    try:
        if "ENABLED=yes" in _UFW.read_text(encoding="utf-8").splitlines():
            return "The firewall ufw"
    except OSError:
        pass  # It does not exist, or we may not read it.
    return "The firewall firewalld" if _FIREWALLD.is_dir() else ""
