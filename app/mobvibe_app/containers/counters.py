"""CPU, memory and network counters of one container, from the engine's stats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NANO = 1e9


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the container's start; `started_at` is the engine's own text for that time."""

    started_at: str
    cpu_seconds: float
    memory_bytes: int
    """Without the file cache, which the kernel reclaims when it needs memory."""
    received_bytes: int
    sent_bytes: int


def read_counters(stats: Mapping[str, Any], container: Any) -> Counters:
    """The counters of one sample; those that the engine leaves out are 0."""
    memory = stats.get("memory_stats") or {}
    detail = memory.get("stats") or {}
    # It has one name under cgroup v1 and another under v2.
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    networks = (stats.get("networks") or {}).values()
    usage = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    return Counters(
        started_at=str(container.attrs["State"]["StartedAt"]),
        cpu_seconds=usage.get("total_usage", 0) / _NANO,
        memory_bytes=max(0, memory.get("usage", 0) - cache),
        received_bytes=sum(one.get("rx_bytes", 0) for one in networks),
        sent_bytes=sum(one.get("tx_bytes", 0) for one in networks),
    )
