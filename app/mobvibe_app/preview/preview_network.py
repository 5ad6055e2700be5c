"""What stands between this machine's address and a phone, as far as this machine can tell."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from mobvibe_app.preview.hints import Network

_TUNNELS = ("tun", "tap", "utun", "wg", "tailscale", "zt", "ppp", "nordlynx", "proton")
_CARRIER_GRADE = ipaddress.ip_network("100.64.0.0/10")
"""Tailscale's addresses too."""
_UFW = Path("/etc/ufw/ufw.conf")
_FIREWALLD = Path("/run/firewalld")


def look_at_network(host: str) -> Network:
    """The interface that holds this address, whether it is a VPN's, and which firewall is on."""
    interface = _interface_of(host)
    return Network(
        interface, interface.startswith(_TUNNELS) or _is_carrier_grade(host), _active_firewall()
    )


def _interface_of(host: str) -> str:
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.family == socket.AF_INET and one.address == host for one in addresses):
            return str(name)
    return ""


def _is_carrier_grade(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in _CARRIER_GRADE
    except ValueError:
        return False


def _active_firewall() -> str:
    try:
        if "ENABLED=yes" in _UFW.read_text(encoding="utf-8").splitlines():
            return "The firewall ufw"
    except OSError:
        # Not there, or not ours to read: then nothing is said of it.
        pass
    return "The firewall firewalld" if _FIREWALLD.is_dir() else ""
