"""The cache that survives test runs: npm packages, prepared SDKs and container images, which take minutes to make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def cache_folder() -> Path:
    """$MOBVIBE_TEST_CACHE, else ~/.cache/mobvibe-tests."""
    named = os.environ.get("MOBVIBE_TEST_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "mobvibe-tests"


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Yield a folder of the cache, created if it is missing. Other test processes wait for the same one."""
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        yield folder
