"""A project's files as one value: read from a folder, written to one, merged."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.workspace.paths import (
    DEPTH_LIMIT,
    MissingFile,
    open_parent,
    open_root,
    read_bytes,
    replace_bytes,
    split_path,
)

ASSET_LIMIT = 10_000_000
"""The largest file that a revision keeps, bytes."""
TREE_LIMIT = 100_000_000
"""The most that one revision keeps, bytes."""
COUNT_LIMIT = 2_000
"""The most files that one revision keeps."""

_SKIPPED = frozenset({"node_modules", "expo-env.d.ts", "dist", "web-build", "ios", "android"})
_SURROGATES = re.compile("[\ud800-\udfff]")
_KEPT_DOT_FILES = frozenset({".gitignore", ".gitattributes", ".prettierrc", ".editorconfig"})
# How opening a folder fails where it went away, or became a link, since it was looked at.
_SWAPPED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_kept(path: str) -> bool:
    """Whether a revision keeps this path: no packages, no caches, no dot folders, no secrets."""
    *folders, name = path.split("/")
    if folders and (folders[0] in _SKIPPED or any(_is_hidden(part) for part in folders)):
        return False
    if "node_modules" in folders or _SURROGATES.search(path):
        return False
    return name in _KEPT_DOT_FILES or not (_is_hidden(name) or (not folders and name in _SKIPPED))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def read_tree(folder: Path) -> FileTree:
    """All files of the folder that a revision keeps. Links, devices and files with two names are left out.

    Raises WorkspaceError where the folder is gone or holds too much.
    """
    tree: dict[str, bytes] = {}
    total = 0
    with open_root(folder) as root:
        for path, parent, name in _walk(root, ()):
            try:
                content = read_bytes(parent, name, path, ASSET_LIMIT)
            except MissingFile:
                continue
            total += len(content)
            tree[path] = content
            if len(tree) > COUNT_LIMIT or total > TREE_LIMIT:
                raise WorkspaceError(
                    f"The project holds more than {COUNT_LIMIT} files or {TREE_LIMIT} bytes.",
                    "Move what the app does not need out of its folder.",
                )
    return dict(sorted(tree.items()))


def _walk(folder: int, parents: tuple[str, ...]) -> Iterator[tuple[str, int, str]]:
    """(path, descriptor of its folder, name) of every plain file below, sorted by name."""
    for name in sorted(os.listdir(folder)):
        path = "/".join((*parents, name))
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and is_kept(path):
            yield path, folder, name
        elif stat.S_ISDIR(status.st_mode) and is_kept(f"{path}/x") and len(parents) < DEPTH_LIMIT:
            try:
                below = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
            except OSError as error:
                if error.errno not in _SWAPPED:
                    raise
                continue
            try:
                yield from _walk(below, (*parents, name))
            finally:
                os.close(below)


def write_tree(tree: FileTree, folder: Path) -> None:
    """Write every file of the tree into an existing folder; what else is there stays.

    Raises WorkspaceError for a path that could lead out.
    """
    with open_root(folder) as root:
        for path, content in sorted(tree.items()):
            parts = split_path(path)
            with open_parent(root, parts, make=True, twins=True) as parent:
                replace_bytes(parent, parts[-1], content)


def merge(base: FileTree, mine: FileTree, theirs: FileTree) -> FileTree:
    """Both sides' changes since `base`, by path; where both changed one, theirs (the person's) wins."""
    merged = {
        path: content
        for path in base.keys() | mine.keys() | theirs.keys()
        if (content := _settled(path, base, mine, theirs)) is not None
    }
    return dict(sorted(merged.items()))


def _settled(path: str, base: FileTree, mine: FileTree, theirs: FileTree) -> bytes | None:
    changed_by_them = theirs.get(path) != base.get(path)
    return theirs.get(path) if changed_by_them else mine.get(path)


def fingerprint(tree: FileTree) -> str:
    """Equal for equal files: SHA-256 over paths and contents, hex."""
    digest = hashlib.sha256()
    for path, content in sorted(tree.items()):
        for part in (path.encode(), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
