"""Rows are read only as the generated types, and no code in app or worker reads a column by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mobvibe_app
import mobvibe_worker

ROOTS = tuple(Path(str(package.__file__)).parent for package in (mobvibe_worker, mobvibe_app))
CATALOG = "mobvibe_worker/store/schema"
"""Modules that read Postgres' catalog and the migrations' history, which have no generated types."""
RECORDS = {"row", "rows", "record", "records"}


def picked(source: str) -> list[int]:
    """The lines that read `row["name"]` or `rows[0]["name"]`, or pass `**row` to a call."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            is_name = isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
            if is_name and _root(node.value) in RECORDS:
                found.append(node.lineno)
        elif isinstance(node, ast.Call):
            spread = [each.value for each in node.keywords if each.arg is None]
            if any(_root(value) in {"row", "rows"} for value in spread):
                found.append(node.lineno)
    return found


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.name)
def test_no_column_is_read_by_name(root: Path) -> None:
    lines = {
        f"{path.relative_to(root)}:{line}"
        for path in root.rglob("*.py")
        if not path.parent.as_posix().endswith(CATALOG)
        for line in picked(path.read_text(encoding="utf-8"))
    }
    assert lines == set()


@pytest.mark.parametrize(
    "source", ['x = row["id"]', 'x = rows[0]["id"]', "x = Small(**row)", "Small(**rows[0], a=1)"]
)
def test_the_check_finds_a_column_read_by_name(source: str) -> None:
    assert picked(source) == [1]
    assert picked('values["a"] = 1\nrow = kind(**record)\nx = settings["a"]') == []
