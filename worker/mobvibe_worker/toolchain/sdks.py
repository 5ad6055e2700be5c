"""The Expo SDKs that projects can use, read from sdks.toml: the one place that knows what depends on the SDK."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobvibe_worker.errors import InputError


@dataclass(frozen=True, slots=True)
class Sdk:
    """One Expo SDK: its starter, its packages, its Node, and which Expo Go opens it."""

    version: int
    template: str
    """The starter's npm package with its exact version."""
    added: Mapping[str, str]
    """Packages that the starter gets on top of the template's own."""
    minimum_node: tuple[int, int]
    runtime_version: str
    """What a manifest says, and Expo Go compares."""
    packages: int
    """About how many packages npm installs."""
    lookups: int
    """About how many it looks up before."""
    expo_go: str
    """In words: which Expo Go opens it and where to get it."""

    @property
    def pins(self) -> str:
        """Changes whenever the install would: SHA-256 over what it is made of, hex."""
        held = asdict(self) | {"layout": 1}
        wanted = {name: held[name] for name in ("template", "added", "layout")}
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def sdk(version: int | None = None) -> Sdk:
    """The SDK of that number, or the default one. Raises InputError for one that is not offered."""
    table = _read_table()
    number = table["default"] if version is None else version
    entry = table.get(str(number))
    if not isinstance(entry, dict):
        offered = " or ".join(str(one) for one in sdk_versions())
        raise InputError(f"Expo SDK {number} is not offered.", f"Choose --sdk {offered}.")
    major, minor = entry["minimum_node"].split(".")
    return Sdk(version=number, **{**entry, "minimum_node": (int(major), int(minor))})


def sdk_versions() -> tuple[int, ...]:
    """The SDKs that are offered, the default one first."""
    table = _read_table()
    offered = sorted(int(name) for name in table if name.isdigit())
    return tuple(sorted(offered, key=lambda version: version != table["default"]))


def _read_table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("sdks.toml").read_text(encoding="utf-8"))
