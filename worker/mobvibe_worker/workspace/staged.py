"""The folder that one attempt works in. No path leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.workspace.editing import EditedText, decode, encode, replace_once
from mobvibe_worker.workspace.paths import (
    MissingFile,
    Parts,
    has_entry,
    open_parent,
    open_root,
    parse_path,
    read_bytes,
    replace_bytes,
    require_no_twin,
    stat_file,
)
from mobvibe_worker.workspace.protected import objection_to, why_protected
from mobvibe_worker.workspace.search import Match, find_literal, find_regex
from mobvibe_worker.workspace.tree import (
    ASSET_LIMIT,
    COUNT_LIMIT,
    is_versioned,
    read_tree,
    write_tree,
)

TEXT_LIMIT = 512_000
"""The largest file that the model may read or write, bytes."""
WRITTEN_LIMIT = 20_000_000
"""The most that one attempt may write in total, bytes."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a listing. `size` in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Written:
    """A changed file. `before` is None if it is new, `after` is None if it was deleted."""

    path: str
    before: str | None
    after: str | None


class StagedFolder:
    """Reads and writes a project's files for the model.

    Every path is checked, then opened by descriptors. All methods raise WorkspaceError for a path or a content
    that may not be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._written = 0
        with open_root(root) as descriptor:
            self._identity = _identity(descriptor)

    def list(self) -> tuple[FileEntry, ...]:
        """Every file that a revision would hold, sorted by path."""
        return tuple(FileEntry(path, len(content)) for path, content in self.snapshot().items())

    def read(self, path: str) -> str:
        return self._read(path).text

    def write(self, path: str, text: str, *, replaces_all: bool = False) -> Written:
        """Create or replace a file. Shrinking one by more than half requires `replaces_all`."""
        parts = self._writable(path)
        before = self._existing(path)
        return self._store(parts, before, text, replaces_all=replaces_all)

    def edit(self, path: str, old: str, new: str) -> Written:
        """Replace the only occurrence of `old` with `new`; differences in line endings are ignored."""
        parts = self._writable(path)
        before = self._read(path)
        after = replace_once(path, before.text, old, new)
        return self._store(parts, before, after, replaces_all=True)

    def delete(self, path: str) -> Written:
        """Delete a file, and the folders that become empty."""
        parts = self._writable(path)
        before = self._deletable(path)
        with self._open() as root, open_parent(root, parts) as parent:
            os.unlink(parts[-1], dir_fd=parent)
        self._prune(parts)
        return Written(path, before, None)

    def rename(self, path: str, to: str) -> Written:
        """Move a file to a path that does not exist yet."""
        source, target = self._writable(path), self._writable(to)
        before = self._deletable(path)
        with (
            self._open() as root,
            open_parent(root, source) as old,
            open_parent(root, target, make=True) as new,
        ):
            is_same_folder = os.path.sameopenfile(old, new)
            require_no_twin(new, target[-1], but=source[-1] if is_same_folder else None)
            if has_entry(new, target[-1]):
                raise WorkspaceError(
                    f"{to} exists already.", "Delete it first, or choose another name."
                )
            os.rename(source[-1], target[-1], src_dir_fd=old, dst_dir_fd=new)
        self._prune(source)
        return Written(to, before, before)

    def search(self, pattern: str, *, is_regex: bool = False) -> tuple[Match, ...]:
        """The lines that match, sorted by path and line. Regular expressions have a time limit."""
        texts = {
            path: content.decode("utf-8", "replace")
            for path, content in self.snapshot().items()
            if b"\x00" not in content and len(content) <= TEXT_LIMIT
        }
        return find_regex(texts, pattern) if is_regex else find_literal(texts, pattern)

    def snapshot(self) -> FileTree:
        with self._open():
            return read_tree(self.root)

    def restore(self, tree: FileTree) -> None:
        """Make the folder hold exactly this tree. Files that are never part of a revision stay."""
        current = self.snapshot()
        for path in current.keys() - tree.keys():
            parts = tuple(path.split("/"))
            with self._open() as root, open_parent(root, parts, twins=True) as parent:
                os.unlink(parts[-1], dir_fd=parent)
            self._prune(parts)
        write_tree({path: c for path, c in tree.items() if current.get(path) != c}, self.root)

    @contextmanager
    def _open(self) -> Iterator[int]:
        with open_root(self.root) as descriptor:
            if _identity(descriptor) != self._identity:
                raise WorkspaceError(
                    "The project's folder was replaced by another one.",
                    "Run the job again. It starts from the last revision.",
                )
            yield descriptor

    def _writable(self, path: str) -> Parts:
        parts = parse_path(path)
        if (reason := why_protected(path)) is not None:
            raise WorkspaceError(reason, "")
        if not is_versioned(path):
            raise WorkspaceError(
                f"{path} would not be saved with the project.", "Choose another folder."
            )
        return parts

    def _existing(self, path: str) -> EditedText | None:
        try:
            return self._read(path)
        except MissingFile:
            return None

    def _read(self, path: str) -> EditedText:
        parts = parse_path(path)
        if any(part.startswith(".") for part in parts) and not is_versioned(path):
            raise WorkspaceError(f"{path} is hidden from you.", "Work with the app's own files.")
        with self._open() as root, open_parent(root, parts) as parent:
            require_no_twin(parent, parts[-1])
            return decode(path, read_bytes(parent, parts[-1], path, TEXT_LIMIT))

    def _deletable(self, path: str) -> str:
        parts = parse_path(path)
        with self._open() as root, open_parent(root, parts) as parent:
            require_no_twin(parent, parts[-1])
            content = read_bytes(parent, parts[-1], path, ASSET_LIMIT)
        return "" if b"\x00" in content else content.decode("utf-8", "replace")

    def _store(
        self, parts: Parts, before: EditedText | None, text: str, *, replaces_all: bool
    ) -> Written:
        path = "/".join(parts)
        shown = None if before is None else before.text
        text = text.replace("\r\n", "\n")
        if (objection := objection_to(path, shown, text, replaces_all=replaces_all)) is not None:
            raise WorkspaceError(objection, "")
        content = encode(path, text, like=before)
        self._count(path, len(content), is_new=before is None)
        with self._open() as root, open_parent(root, parts, make=True) as parent:
            require_no_twin(parent, parts[-1])
            stat_file(parent, parts[-1], path)
            replace_bytes(parent, parts[-1], content)
        return Written(path, shown, text)

    def _count(self, path: str, size: int, *, is_new: bool) -> None:
        if size > TEXT_LIMIT:
            raise WorkspaceError(f"{path} would be larger than {TEXT_LIMIT} bytes.", "Split it.")
        if self._written + size > WRITTEN_LIMIT:
            raise WorkspaceError(f"This job wrote {WRITTEN_LIMIT} bytes already.", "Stop here.")
        if is_new and len(self.snapshot()) >= COUNT_LIMIT:
            raise WorkspaceError(f"The project has {COUNT_LIMIT} files already.", "Delete some.")
        self._written += size

    def _prune(self, parts: Parts) -> None:
        with self._open() as root:
            for depth in range(len(parts) - 1, 0, -1):
                # rmdir fails for a folder that is not empty, which therefore stays.
                with suppress(OSError), open_parent(root, parts[:depth], twins=True) as parent:
                    os.rmdir(parts[depth - 1], dir_fd=parent)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
