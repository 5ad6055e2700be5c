"""The built wheel holds every file that the program reads at run time, and only our two packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.polling import patient

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a newly built wheel."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=patient(120))
    (built,) = target.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_every_data_file_is_in_the_wheel(wheel_names: list[str]) -> None:
    sources = {
        path.relative_to(ROOT / root).as_posix()
        for root in ("app", "worker")
        for path in (ROOT / root).rglob("*")
        if path.suffix in {".toml", ".tcss", ".md", ".py", ".json", ".cjs", ".mjs"}
        and "__pycache__" not in path.parts
    }
    migrations = {
        f"mobvibe_worker/migrations/{path.name}" for path in (ROOT / "migrations").glob("*.sql")
    }
    assert migrations
    assert sources | migrations <= set(wheel_names)


def test_the_wheel_has_exactly_our_two_packages(wheel_names: list[str]) -> None:
    tops = {name.split("/", 1)[0] for name in wheel_names if ".dist-info" not in name}
    assert tops == {"mobvibe_app", "mobvibe_worker"}


def test_each_migration_has_a_down_file() -> None:
    ups = {path.stem for path in (ROOT / "migrations").glob("*.sql") if ".down" not in path.name}
    downs = {
        path.name.removesuffix(".down.sql") for path in (ROOT / "migrations").glob("*.down.sql")
    }
    assert ups == downs
