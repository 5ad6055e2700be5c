"""Why a phone does not show the app yet: one sentence, one thing to do, one page that explains it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from mobvibe_app.preview.facts import Hint, PreviewFacts

UNREACHED_SECONDS = 12.0
"""No one scans a code faster."""
SILENT_SECONDS = 5.0
"""Expo Go asks for the bundle at once, or refuses the manifest."""
_PROBLEM_LIMIT = 300


@dataclass(frozen=True, slots=True)
class PhoneRoute:
    """What this machine knows about the way to a phone. With `is_vpn` the address belongs to a tunnel."""

    interface: str = ""
    is_vpn: bool = False
    firewall: str = ""
    """The name of an active firewall; empty if none is known."""


def hint_for(
    facts: PreviewFacts,
    *,
    address: str,
    port: int,
    expo_go: str,
    route: PhoneRoute,
    shown_at: float,
    now: float,
) -> Hint | None:
    """The hint that applies; None if all is well or it is too early for one. Times are Unix times."""
    if facts.ended is not None:
        return None
    if facts.broken is not None:
        return _broken(facts)
    if facts.bundled_at is not None or facts.building is not None:
        return None
    if not facts.was_reached:
        return _unreached(address, port, route, waited=now - shown_at)
    if facts.bundle_asked_at is not None:
        return None
    if facts.manifest_at is not None:
        if now - facts.manifest_at < SILENT_SECONDS:
            return None
        return Hint(
            "wrong-expo-go",
            "A phone read the app's manifest and did not ask for the app: its Expo Go is for another SDK.",
            expo_go,
        )
    return Hint(
        "opened-in-a-browser",
        "The address was opened in a browser, not in Expo Go.",
        "Scan the code from inside Expo Go, or on an iPhone with the camera.",
    )


def _broken(facts: PreviewFacts) -> Hint:
    broken = facts.broken
    assert broken is not None
    problem = broken.message.strip().split("\n", 1)[0][:_PROBLEM_LIMIT]
    file = broken.file.rpartition("/")[2] if broken.file.startswith("/") else broken.file
    where = ""
    if file:
        # The compiler gives the whole path of the file, which a person need not read.
        problem = problem.rpartition(file)[2].lstrip(": ") or problem
        where = f"{file}:{broken.line}: " if broken.line else f"{file}: "
    return Hint(
        "bundle-failed",
        f"The app does not compile: {where}{problem}",
        "Undo the edit, or describe the problem in a prompt; the phone follows by itself.",
    )


def _unreached(address: str, port: int, route: PhoneRoute, *, waited: float) -> Hint | None:
    if _is_loopback(address):
        return Hint(
            "not-reached",
            f"{address} is this machine's own address: no phone reaches it.",
            "Connect to a network, or give the address that the phone sees: --host ADDRESS.",
        )
    if route.is_vpn:
        return Hint(
            "not-reached",
            f"{address} belongs to a VPN ({route.interface}): a phone beside you does not reach it.",
            "Leave the VPN, or give the Wi-Fi's address: --host ADDRESS.",
        )
    if waited < UNREACHED_SECONDS:
        return None
    remedy = "Is the phone in the same Wi-Fi, without a VPN? A guest network keeps devices apart."
    if route.firewall:
        remedy = f"{route.firewall} is on: let TCP port {port} in. {remedy}"
    return Hint("not-reached", f"No phone has reached port {port} yet.", remedy)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
