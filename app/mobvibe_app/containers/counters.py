"""What an engine counts for one container, out of its own words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NANO = 1e9


@dataclass(frozen=True, slots=True)
class Counted:
    """Since the container's start; `started_at` is the engine's own word for that."""

    started_at: str
    cpu_seconds: float
    memory_bytes: int
    """Without the file cache, which the machine takes back when it needs it."""
    received_bytes: int
    sent_bytes: int


def counted(stats: Mapping[str, Any], container: Any) -> Counted:
    """The counters of one sample; what the engine leaves out counts as 0."""
    memory = stats.get("memory_stats") or {}
    detail = memory.get("stats") or {}
    # Under cgroup v1 and v2 it has two names.
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    networks = (stats.get("networks") or {}).values()
    usage = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    return Counted(
        started_at=str(container.attrs["State"]["StartedAt"]),
        cpu_seconds=usage.get("total_usage", 0) / _NANO,
        memory_bytes=max(0, memory.get("usage", 0) - cache),
        received_bytes=sum(one.get("rx_bytes", 0) for one in networks),
        sent_bytes=sum(one.get("tx_bytes", 0) for one in networks),
    )
