"""Saves the staged folders of attempts that did not complete, so that a person can look into them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

MOST_COPIES = 20


def save_failed_attempt(staged: Path, copy: Path) -> None:
    """Copy a staged folder to `copy`, and delete the oldest copies beside it. A full disk is logged, not raised."""
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(
            staged,
            copy,
            symlinks=True,
            ignore=shutil.ignore_patterns("node_modules", ".expo"),
        )
        copy.touch()
        copies = sorted(copy.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in copies[:-MOST_COPIES]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        log.warning("%s cannot be saved: %s", staged.name, error)
