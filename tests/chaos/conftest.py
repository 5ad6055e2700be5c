"""Servers that are killed and disks that fill up: `make chaos` runs these, `make test` does not."""

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
    """The programs of each version."""
    return debian_15() if request.param == "15" else embedded_18()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 MB in memory. Only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    size = f"size={DISK_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
