"""Imports form no cycle and no long chain, parts load only what they may, and tests scale their time limits."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import mobvibe_app
import mobvibe_worker
from support.polling import patient

LONGEST_CHAIN = 13
"""The number of modules in the longest allowed chain of imports."""
Imports = dict[str, list[str]]
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
def test_a_part_loads_no_forbidden_package(statements: str, absent: set[str]) -> None:
    assert not loaded_after(statements) & absent


def test_the_check_finds_a_loaded_package() -> None:
    assert "textual" in loaded_after("import textual.app")


def our_imports(*, for_types: bool = False) -> Imports:
    """Module -> our modules that it imports; `for_types` includes those under TYPE_CHECKING."""
    graph = grimp.build_graph(
        *("mobvibe_app", "mobvibe_worker"),
        exclude_type_checking_imports=not for_types,
        cache_dir=None,
    )
    return {name: sorted(graph.find_modules_directly_imported_by(name)) for name in graph.modules}


def longest_chain(graph: Imports) -> tuple[str, ...]:
    """The longest chain of imports in a graph without cycles."""

    @cache
    def chain_from(module: str) -> tuple[str, ...]:
        return (module, *max(map(chain_from, graph[module]), key=len, default=()))

    return max(map(chain_from, sorted(graph)), key=len)


def cycle(graph: Imports) -> list[str]:
    """The modules of one cycle; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("for_types", [False, True])
def test_imports_form_no_cycle(for_types: bool) -> None:
    assert cycle(our_imports(for_types=for_types)) == []


def test_every_module_is_in_the_graph() -> None:
    """A folder without `__init__.py` would be missing from it and from the import contracts."""
    files = {
        ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        for root in (
            Path(str(package.__file__)).parent for package in (mobvibe_app, mobvibe_worker)
        )
        for path in root.rglob("*.py")
    }
    assert files == set(our_imports())


def test_chains_of_imports_are_short() -> None:
    chain = longest_chain(our_imports())
    assert len(chain) <= LONGEST_CHAIN, "\n".join(("this chain is too long:", *chain))


def test_the_checks_find_a_long_chain_and_a_cycle() -> None:
    graph = {"a": ["b", "d"], "b": ["c"], "c": [], "d": []}
    assert longest_chain(graph) == ("a", "b", "c")
    assert cycle(graph) == [] and set(cycle({**graph, "c": ["a"]})) == {"a", "b", "c"}


def unscaled_limits(source: str) -> list[int]:
    """The lines that pass a plain number as a time limit to `wait`, `join` or `asyncio.wait_for`."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_limited = node.func.attr in {"wait", "join"} or (
                ast.unparse(node.func) == "asyncio.wait_for"
            )
            given = [*node.args, *(each.value for each in node.keywords if each.arg == "timeout")]
            if is_limited and any(map(_is_number, given)):
                lines.append(node.lineno)
    return lines


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def test_time_limits_of_tests_are_scaled() -> None:
    """The linter bans `asyncio.timeout`. Other limits must use `patient` or `within`, except in benchmarks."""
    tests = Path(__file__).parent
    files = [path for path in tests.rglob("*.py") if "bench" not in path.relative_to(tests).parts]
    found = {
        f"{path.relative_to(tests)}:{line}"
        for path in files
        for line in unscaled_limits(path.read_text(encoding="utf-8"))
    }
    assert len(files) > 100 and found == set()


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.wait(tasks, timeout=0.5)",
        "asyncio.wait_for(task, 5)",
        "thread.join(60)",
        "p.wait(9)",
    ],
)
def test_the_check_finds_an_unscaled_limit(source: str) -> None:
    assert unscaled_limits(source) == [1]
    assert unscaled_limits("thread.join(); p.wait(patient(9)); terminal.wait_for('x', 5)") == []
