"""All of compose.yaml runs: the image is built, the schema migrated, a worker and the previews start."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from mobvibe_app.containers.engine import DockerEngine
from support.containers.compose import ROOT, Composed
from support.containers.compose import composed as composed
from support.containers.engine import ensure_python_image
from support.polling import patient

pytestmark = [pytest.mark.chaos, pytest.mark.docker, pytest.mark.timeout(1800)]

_COPIED = ("app", "worker", "migrations", "pyproject.toml", "README.md", "compose.yaml")


def _index() -> dict[str, str]:
    """The index from which pip installs on this machine."""
    asked = (sys.executable, "-m", "pip", "config", "get", "global.index-url")
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {"PIP_INDEX_URL": found} if found else {}


async def test_a_worker_and_the_previews_start(
    engine: DockerEngine, composed: Composed, tmp_path: Path
) -> None:
    composed.root = tmp_path / "checkout"
    for name in (*_COPIED, "Dockerfile", ".dockerignore"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        composed.root.mkdir(exist_ok=True)
        copy(ROOT / name, composed.root / name)
    certificates = os.environ.get("NODE_EXTRA_CA_CERTS")
    if certificates:
        shutil.copy2(certificates, composed.root / "ca.crt")
    more = {"MOBVIBE_PYTHON_IMAGE": ensure_python_image(engine), **_index()}
    began = time.monotonic()
    await asyncio.to_thread(composed.run, "up", "-d", "--build", more=more)
    print(f"compose up from nothing in {time.monotonic() - began:.0f} s")
    try:
        await _until_at_work(composed)
        logs = composed.run("logs", "--no-color", "preview", "worker")
        assert "waiting for jobs" in logs
        states = {one.name.rpartition("-")[2]: one.status for one in engine.labelled(composed.id)}
        assert {name: states[name] for name in ("postgres", "worker", "preview")} == dict.fromkeys(
            ("postgres", "worker", "preview"), "running"
        )
    except BaseException:
        print(composed.run("logs", "--no-color")[-6000:])
        raise


async def _until_at_work(composed: Composed) -> None:
    """Wait until the worker is registered and the previews listen."""
    deadline = time.monotonic() + patient(60)
    connection = await asyncpg.connect(composed.dsn)
    try:
        while True:
            workers = await connection.fetchval("select count(*) from workers")
            if workers == 1 and "previews follow" in composed.run("logs", "--no-color", "preview"):
                return
            assert time.monotonic() < deadline, workers
            await asyncio.sleep(0.5)
    finally:
        await connection.close()
