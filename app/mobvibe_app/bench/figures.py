"""The measured figures: rounds, their medians, and ratios to other queues."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

OURS = "mobvibe"
Unit = Literal["jobs/s", "rows/s", "ms"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One scenario of one system, with one value per round, in `unit`."""

    scenario: str
    system: str
    unit: Unit
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(slots=True)
class Figures:
    """All that a run measured, in that order."""

    _values: dict[tuple[str, str, Unit], list[float]] = field(default_factory=dict)

    def add(self, scenario: str, system: str, unit: Unit, value: float) -> None:
        self._values.setdefault((scenario, system, unit), []).append(value)

    def all(self) -> list[Figure]:
        return [Figure(*key, tuple(values)) for key, values in self._values.items()]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def ratio(ours: Figure, theirs: Figure) -> float:
    """How many times better ours is; below 1 it is worse."""
    if ours.unit == "ms":
        return theirs.median / ours.median
    return ours.median / theirs.median


def table(figures: Iterable[Figure]) -> list[str]:
    """Lines for a person: each scenario, and each system with its median, its least and its most."""
    rows: dict[str, list[Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.scenario, []).append(figure)
    lines = []
    for scenario, row in rows.items():
        own = next((figure for figure in row if figure.system == OURS), None)
        lines.append(f"{scenario} ({row[0].unit})")
        for figure in row:
            spread = f"({_short(min(figure.values))} to {_short(max(figure.values))})"
            line = f"  {figure.system:<14}{_short(figure.median):>10}  {spread}"
            if own and figure is not own:
                line += f"  x{ratio(own, figure):.2f}"
            lines.append(line)
    return lines


def as_data(figure: Figure, all_figures: Sequence[Figure]) -> dict[str, Any]:
    """One figure for programs. `ratio` compares ours with it."""
    own = next((f for f in all_figures if (f.scenario, f.system) == (figure.scenario, OURS)), None)
    return {
        "scenario": figure.scenario,
        "system": figure.system,
        "unit": figure.unit,
        "median": round(figure.median, 3),
        "rounds": [round(value, 3) for value in figure.values],
        "ratio": round(ratio(own, figure), 3) if own and own is not figure else None,
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
