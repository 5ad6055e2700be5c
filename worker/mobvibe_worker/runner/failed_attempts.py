"""Saves the staged folders of attempts that did not complete, so that a person can look into them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

MOST_KEPT = 20


def save_failed_attempt(staged: Path, kept: Path) -> None:
    """Copy a staged folder to `kept`, and delete the oldest copies beside it. A full disk is logged, not raised."""
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
        copies = sorted(kept.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in copies[:-MOST_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        log.warning("%s cannot be saved: %s", staged.name, error)
