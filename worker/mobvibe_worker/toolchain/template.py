"""The starter's files: extracted safely from npm's tarball, and adapted to a project's name."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobvibe_worker.errors import ServiceError, WorkspaceError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.toolchain.sdks import Sdk
from mobvibe_worker.workspace.paths import parse_path

NEEDED_FILES = frozenset({"package.json", "app.json", "tsconfig.json", "App.tsx"})
"""The files that every starter has."""
_MOST_BYTES = 20_000_000
_MOST_FILES = 200
_LEFT_OUT = frozenset({"LICENSE", "CHANGELOG.md"})
_RENAMED = {"gitignore": ".gitignore"}


def extract_template(tarball: Path) -> FileTree:
    """The files of the template's tarball. Raises ServiceError if it contains anything but plain files."""
    tree: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(tarball) as archive:
            for member in archive:
                if member.isdir():
                    continue
                path = member.name.removeprefix("package/")
                parse_path(path)
                file = archive.extractfile(member) if member.isreg() else None
                total += member.size
                if file is None or total > _MOST_BYTES or len(tree) >= _MOST_FILES:
                    raise _unusable(
                        tarball, f"{path} is not a plain file, or the files are too large"
                    )
                if path not in _LEFT_OUT:
                    tree[_RENAMED.get(path, path)] = file.read()
    except (tarfile.TarError, OSError, WorkspaceError) as error:
        raise _unusable(tarball, str(error)) from error
    if not tree.keys() >= NEEDED_FILES:
        raise _unusable(tarball, "its files are not those of an Expo template")
    return tree


def _unusable(tarball: Path, reason: str) -> ServiceError:
    return ServiceError(
        f"The starter {tarball.name} cannot be used: {reason}.", "Check npm's registry setting."
    )


def starter_tree(template: FileTree, sdk: Sdk) -> FileTree:
    """The template with the packages that web previews need, still without a project's name."""
    manifest = json.loads(template["package.json"])
    merged = {**manifest.get("dependencies", {}), **sdk.added}
    package = {
        "name": "starter",
        "version": "1.0.0",
        "private": True,
        "main": manifest["main"],
        "scripts": manifest.get("scripts", {}),
        "dependencies": dict(sorted(merged.items())),
        "devDependencies": manifest.get("devDependencies", {}),
    }
    settings = json.loads(template["app.json"])
    # Apps follow the phone's light or dark setting only if the manifest allows it.
    settings["expo"]["userInterfaceStyle"] = "automatic"
    return {**template, "package.json": _json(package), "app.json": _json(settings)}


def project_tree(starter: FileTree, name: str, slug: str) -> FileTree:
    """The starter's files for one project. Expo Go separates the data of projects by their slugs."""
    package = json.loads(starter["package.json"]) | {"name": slug}
    settings = json.loads(starter["app.json"])
    settings["expo"] |= {"name": name, "slug": slug}
    named = {"package.json": _json(package), "app.json": _json(settings)}
    return dict(sorted({**starter, **named}.items()))


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
