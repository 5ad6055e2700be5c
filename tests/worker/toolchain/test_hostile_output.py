"""Hostile output of tools and hostile files are problems of the project, never errors of the program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobvibe_worker.agent.opening import opening_message
from mobvibe_worker.toolchain.bundle_problems import parse_problems
from mobvibe_worker.toolchain.type_check import parse_types
from mobvibe_worker.workspace.staged import StagedFolder

DIGITS = "9" * 5_000
NEST = "[" * 200_000


@pytest.mark.parametrize(
    "body",
    [
        NEST,
        json.dumps({"message": f"SyntaxError: no. ({DIGITS}:{DIGITS})", "filename": "App.tsx"}),
        json.dumps({"type": "UnableToResolveError", "message": f"> {DIGITS} | import"}),
    ],
)
def test_an_oversized_bundler_answer_is_one_problem(body: str, tmp_path: Path) -> None:
    (problem,) = parse_problems(body.encode(), tmp_path)
    assert problem.line is None


def test_an_oversized_line_number_is_ignored(tmp_path: Path) -> None:
    output = f"App.tsx({DIGITS},1): error TS2322: no.\nApp.tsx(3,1): error TS2304: there."
    (problem,) = parse_types(output, tmp_path)
    assert (problem.line, problem.path) == (3, "App.tsx")


@pytest.mark.parametrize("manifest", [NEST, f'{{"dependencies": {DIGITS}}}', "[]", "{"])
def test_an_unreadable_manifest_names_no_packages(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text(manifest)
    facts = opening_message("go on", StagedFolder(tmp_path), 54)[0]["text"]
    assert "The packages are fixed:\n\nThe files:" in facts
