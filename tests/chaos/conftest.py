"""Fixtures of the chaos tests, which kill servers and fill disks. `make chaos` runs them, `make test` does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres.clusters import debian_15, embedded_18

DISK_BYTES = 300_000_000


@pytest.fixture(params=["15", "18"])
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder of Postgres programs, for each version."""
    return debian_15() if request.param == "15" else embedded_18()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A 300 MB file system in memory, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    size = f"size={DISK_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
