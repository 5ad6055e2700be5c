"""Reads, writes and merges a project's files as one value."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.workspace.paths import (
    DEPTH_LIMIT,
    FOLDER_FLAGS,
    MissingFile,
    open_parent,
    open_root,
    read_bytes,
    replace_bytes,
    split_path,
)

ASSET_LIMIT = 10_000_000
"""The largest file in a revision, bytes."""
TREE_LIMIT = 100_000_000
"""The largest total size of a revision, bytes."""
COUNT_LIMIT = 2_000
"""The most files in a revision."""

_SKIPPED = frozenset({"node_modules", "expo-env.d.ts", "dist", "web-build", "ios", "android"})
_SURROGATES = re.compile("[\ud800-\udfff]")
_VERSIONED_DOT_FILES = frozenset({".gitignore", ".gitattributes", ".prettierrc", ".editorconfig"})
# Errors of opening a folder that was deleted, or replaced by a link, after it was listed.
_SWAPPED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def is_versioned(path: str) -> bool:
    """Whether this path can be part of a revision; packages, caches and most hidden files cannot."""
    *folders, name = path.split("/")
    if folders and (folders[0] in _SKIPPED or any(_is_hidden(part) for part in folders)):
        return False
    if "node_modules" in folders or _SURROGATES.search(path):
        return False
    if name in _VERSIONED_DOT_FILES:
        return True
    return not (_is_hidden(name) or (not folders and name in _SKIPPED))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


@dataclass(frozen=True, slots=True)
class Scan:
    """A folder's files, and the paths that no revision can hold: links, devices, large or unreadable files."""

    files: FileTree
    unread: frozenset[str]

    def hides(self, path: str) -> bool:
        """Whether the path or a folder above it was not read, so that the file may still exist."""
        names = path.split("/")
        return any("/".join(names[:depth]) in self.unread for depth in range(1, len(names) + 1))


def read_tree(folder: Path, *, hard_links: bool = False) -> FileTree:
    """All files of the folder that a revision holds.

    Links and devices are left out, and files with two names unless `hard_links` is set.
    Raises WorkspaceError if the folder is missing, cannot be read or holds too much.
    """
    tree: dict[str, bytes] = {}
    total = 0
    with open_root(folder) as root:
        for path, parent, name, is_file in _walk(root, ()):
            if not is_file or not (hard_links or _has_one_name(parent, name)):
                continue
            try:
                content = read_bytes(parent, name, path, ASSET_LIMIT, hard_links=hard_links)
            except MissingFile:
                continue
            tree[path] = content
            total += len(content)
            _require_room(len(tree), total)
    return dict(sorted(tree.items()))


def scan_tree(folder: Path) -> Scan:
    """The files of a person's own folder, including hard-linked ones; unusable files are listed, not raised.

    Raises WorkspaceError if the folder is missing, a folder in it cannot be read, or it holds too much.
    """
    tree: dict[str, bytes] = {}
    unread: set[str] = set()
    total = 0
    with open_root(folder) as root:
        for path, parent, name, _ in _walk(root, ()):
            try:
                content = read_bytes(parent, name, path, ASSET_LIMIT, hard_links=True)
            except MissingFile:
                continue
            except WorkspaceError:
                unread.add(path)
                continue
            tree[path] = content
            total += len(content)
            _require_room(len(tree), total)
    return Scan(dict(sorted(tree.items())), frozenset(unread))


def _require_room(count: int, total: int) -> None:
    if count > COUNT_LIMIT or total > TREE_LIMIT:
        raise WorkspaceError(
            f"The project holds more than {COUNT_LIMIT} files or {TREE_LIMIT} bytes.",
            "Move what the app does not need out of its folder.",
        )


def _has_one_name(folder: int, name: str) -> bool:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink == 1
    except FileNotFoundError:
        return False


def _walk(folder: int, parents: tuple[str, ...]) -> Iterator[tuple[str, int, str, bool]]:
    """Yield (path, descriptor of its folder, name, whether it is a plain file) of every versioned path, by name.

    Folders are entered, except links and those below DEPTH_LIMIT. Raises WorkspaceError if one cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable("/".join(parents), error) from error
    for name in names:
        path = "/".join((*parents, name))
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(path, error) from error
        if not stat.S_ISDIR(mode) or len(parents) >= DEPTH_LIMIT:
            if is_versioned(path):
                yield path, folder, name, stat.S_ISREG(mode)
        elif is_versioned(f"{path}/x"):
            yield from _walk_below(folder, name, (*parents, name))


def _walk_below(
    folder: int, name: str, parents: tuple[str, ...]
) -> Iterator[tuple[str, int, str, bool]]:
    try:
        below = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in _SWAPPED:
            return
        raise _unreadable("/".join(parents), error) from error
    try:
        yield from _walk(below, parents)
    finally:
        os.close(below)


def _unreadable(path: str, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path or 'The folder'} cannot be read: {error.strerror or error}.",
        "Change its permissions, or move it out of the project's folder.",
    )


def write_tree(tree: FileTree, folder: Path) -> None:
    """Write every file of the tree into an existing folder. Other files stay.

    Raises WorkspaceError for a path that could lead outside.
    """
    with open_root(folder) as root:
        for path, content in sorted(tree.items()):
            parts = split_path(path)
            with open_parent(root, parts, make=True, twins=True) as parent:
                replace_bytes(parent, parts[-1], content)


def merge(base: FileTree, mine: FileTree, theirs: FileTree) -> FileTree:
    """Apply both sides' changes since `base`, file by file. If both changed a file, theirs (the person's) wins."""
    merged = {
        path: content
        for path in base.keys() | mine.keys() | theirs.keys()
        if (content := _merged_file(path, base, mine, theirs)) is not None
    }
    return dict(sorted(merged.items()))


def _merged_file(path: str, base: FileTree, mine: FileTree, theirs: FileTree) -> bytes | None:
    changed_by_them = theirs.get(path) != base.get(path)
    return theirs.get(path) if changed_by_them else mine.get(path)


def fingerprint(tree: FileTree) -> str:
    """SHA-256 over paths and contents, hex."""
    digest = hashlib.sha256()
    for path, content in sorted(tree.items()):
        for part in (path.encode(), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
