"""The Expo SDKs that projects can use, read from sdks.toml: the only place that depends on the SDK."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobvibe_worker.errors import InputError

_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class Sdk:
    """One Expo SDK: its starter, its packages, the Node it needs, and the Expo Go that opens it."""

    version: int
    template: str
    """The starter's npm package with its exact version."""
    added: Mapping[str, str]
    """Packages that the starter gets in addition to the template's."""
    minimum_node: tuple[int, int]
    runtime_version: str
    """The manifest's runtime version, which Expo Go compares with its own."""
    expo_go: str
    """A sentence: which Expo Go opens it, and where to get it."""
    lock: bytes = field(repr=False)
    """npm's lock file of all packages, including the added ones, so that every install is the same."""

    @property
    def pins(self) -> str:
        """SHA-256 over everything that determines the install, hex."""
        made_of = [self.template, sorted(self.added.items()), _LAYOUT]
        return hashlib.sha256(json.dumps(made_of).encode() + self.lock).hexdigest()

    def count_packages(self) -> int:
        """How many packages npm fetches, without the few that only one platform needs."""
        held: Mapping[str, Mapping[str, Any]] = json.loads(self.lock)["packages"]
        return len(
            {one["integrity"] for path, one in held.items() if path and "optional" not in one}
        )


def sdk(version: int | None = None) -> Sdk:
    """The SDK of that version, or the default one. Raises InputError if it is not offered."""
    table = _read_table()
    number = table["default"] if version is None else version
    entry = table.get(str(number))
    if not isinstance(entry, dict):
        offered = " or ".join(str(one) for one in sdk_versions())
        raise InputError(f"Expo SDK {number} is not offered.", f"Choose --sdk {offered}.")
    major, minor = entry["minimum_node"].split(".")
    lock = Path(__file__).with_name("locks") / f"sdk-{number}.json"
    held = {**entry, "minimum_node": (int(major), int(minor)), "lock": lock.read_bytes()}
    return Sdk(version=number, **held)


def sdk_versions() -> tuple[int, ...]:
    """The SDKs that are offered, the default one first."""
    table = _read_table()
    offered = sorted(int(name) for name in table if name.isdigit())
    return tuple(sorted(offered, key=lambda version: version != table["default"]))


def _read_table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("sdks.toml").read_text(encoding="utf-8"))
