"""Staged folders of attempts that did not complete, kept aside for the person: the newest few."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

MOST_KEPT = 20


def keep_aside(staged: Path, kept: Path) -> None:
    """Copy a staged folder to `kept`; of its neighbours the oldest go. A full disk is logged, not raised."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(
            staged,
            kept,
            symlinks=True,
            ignore=shutil.ignore_patterns("node_modules", ".expo"),
        )
        kept.touch()
        neighbours = sorted(kept.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in neighbours[:-MOST_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        log.warning("%s cannot be kept aside: %s", staged.name, error)
