"""The graph of imports (its longest chain, no circle), and what is really loaded, in a process of its own."""

from __future__ import annotations

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
"""Modules in the longest chain of imports."""
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
def test_a_part_loads_nothing_that_it_must_not_know(statements: str, absent: set[str]) -> None:
    assert not loaded_after(statements) & absent


def test_the_probe_sees_what_is_loaded() -> None:
    assert "textual" in loaded_after("import textual.app")


def our_imports(*, for_types: bool = False) -> Imports:
    """Module -> the modules of ours that it imports, with `for_types` also under TYPE_CHECKING."""
    graph = grimp.build_graph(
        *("mobvibe_app", "mobvibe_worker"),
        exclude_type_checking_imports=not for_types,
        cache_dir=None,
    )
    return {name: sorted(graph.find_modules_directly_imported_by(name)) for name in graph.modules}


def longest_chain(graph: Imports) -> tuple[str, ...]:
    """The longest chain of imports of a graph without circles."""

    @cache
    def chain_from(module: str) -> tuple[str, ...]:
        return (module, *max(map(chain_from, graph[module]), key=len, default=()))

    return max(map(chain_from, sorted(graph)), key=len)


def circle(graph: Imports) -> list[str]:
    """The modules of one circle; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("for_types", [False, True])
def test_no_modules_import_each_other_in_a_circle(for_types: bool) -> None:
    assert circle(our_imports(for_types=for_types)) == []


def test_every_module_is_in_the_graph() -> None:
    """A folder without `__init__.py` would be left out of it, and of the import contracts."""
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
    assert len(chain) <= LONGEST_CHAIN, "\n".join(("a longer chain:", *chain))


def test_a_long_chain_and_a_circle_would_be_found() -> None:
    graph = {"a": ["b", "d"], "b": ["c"], "c": [], "d": []}
    assert longest_chain(graph) == ("a", "b", "c")
    assert circle(graph) == [] and set(circle({**graph, "c": ["a"]})) == {"a", "b", "c"}
