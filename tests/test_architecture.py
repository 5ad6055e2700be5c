"""What a static graph of imports cannot see: what is really loaded, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.polling import patient

PROGRAM = """
import json, sys
{statements}
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def loaded_after(statements: str) -> set[str]:
    """The top-level packages in sys.modules after these statements ran in a new interpreter."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statements=statements)],
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("statements", "absent"),
    [
        ("import mobvibe_worker.runner.headless", {"textual", "rich", "docker", "qrcode"}),
        ("import mobvibe_app.ui.app", {"asyncpg", "docker", "anthropic", "mobvibe_worker.store"}),
        ("import mobvibe_app.cli.main", {"textual", "asyncpg", "anthropic", "pydantic"}),
        ("import mobvibe_app.supervisor.__main__", {"textual", "asyncpg", "pydantic"}),
        (
            "from mobvibe_app.cli.main import run\nrun(['demo'])",
            {"textual", "asyncpg", "anthropic", "docker"},
        ),
    ],
)
def test_a_part_loads_nothing_that_it_must_not_know(statements: str, absent: set[str]) -> None:
    assert not loaded_after(statements) & absent


def test_the_probe_sees_what_is_loaded() -> None:
    assert "textual" in loaded_after("import textual.app")
