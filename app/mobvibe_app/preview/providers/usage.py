"""Samples how much processor time and memory a preview uses, without waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """The processor time of a process tree since its start, and its memory now."""

    cpu_seconds: float
    memory_bytes: int


def measure_tree(pid: int) -> Sample | None:
    """Sample a process and all that it started; None if it is gone."""
    import psutil

    cpu, memory = 0.0, 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    for process in family:
        try:
            with process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return Sample(cpu, memory)


class CpuMeter:
    """Turns counters that only grow into percent of one processor since the sample before."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[object, float, float]] = {}

    def percent(self, name: str, life: object, cpu_seconds: float) -> float:
        """`life` changes when the counter restarts from 0. The first sample of a life gives 0."""
        now = time.monotonic()
        last = self._last.get(name)
        self._last[name] = (life, now, cpu_seconds)
        if last is None or last[0] != life or now <= last[1]:
            return 0.0
        return max(0.0, 100.0 * (cpu_seconds - last[2]) / (now - last[1]))
