"""Keeps grouped tests of a parallel run in one process. Whole files are grouped, by the markers that they use.

pytest-xdist's own groups (`--dist loadgroup`) have no effect under pytest 9.2 (pytest-xdist issue 1386).
"""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

GROUPS = ("docker", "expo")
"""Markers of tests that need the container engine or keep the machine busy. The first match in a file decides."""


class GroupedScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not needed for mypy
    """Schedules each group as one unit, the largest first, and every other test on its own."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        text = (Path(self.config.rootpath) / path).read_text(encoding="utf-8")
        return next((name for name in GROUPS if f"pytest.mark.{name}" in text), nodeid)
