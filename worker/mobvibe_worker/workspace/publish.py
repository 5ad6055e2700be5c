"""The served folder: shows a revision to Metro and the person's editor, and reports what the person changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.workspace.metro_view import MetroView
from mobvibe_worker.workspace.paths import MissingFile, open_parent, open_root, split_path
from mobvibe_worker.workspace.tree import Scan, is_versioned, scan_tree, write_tree

log = logging.getLogger(__name__)

_RECORDS = ".published"
_METRO_SECONDS = 60.0
"""How long to wait for the folder's Metro. After that a phone may show an error until the next update."""


@dataclass(frozen=True, slots=True)
class Edits:
    """What the person changed in a served folder since it was published."""

    changed: FileTree
    deleted: frozenset[str]

    def over(self, tree: FileTree) -> FileTree:
        """The tree with these edits applied."""
        merged = {path: held for path, held in tree.items() if path not in self.deleted}
        return dict(sorted({**merged, **self.changed}.items()))


@dataclass(frozen=True, slots=True)
class _Record:
    """What we wrote into the folder. After a publish was killed, a path may be in one of several states."""

    states: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """Per path, the hashes that we may have written; None means no file."""
    revision: str | None = None

    def is_ours(self, path: str, held: str | None) -> bool:
        """Whether a file with this hash (None means no file) is as we left it."""
        return held in self.states.get(path, (None,))

    def during(self, wanted: Mapping[str, str], held: Mapping[str, str]) -> _Record:
        """The states that are possible while `wanted` is published over `held`."""
        states: dict[str, Sequence[str | None]] = {}
        for path in self.states.keys() | wanted.keys():
            aim = wanted.get(path)
            is_there = aim is not None and held.get(path) == aim
            states[path] = (aim,) if is_there else (*self.states.get(path, (None,)), aim)
        return _Record(states, self.revision)

    def after(self, held: Mapping[str, str]) -> _Record:
        """The states that are left after a publish ended: those of `held` that are ours."""
        states = {
            path: (held.get(path),) if self.is_ours(path, held.get(path)) else states
            for path, states in self.states.items()
        }
        return _Record(states, self.revision)


class ServedFolder:
    """One project's served folder. All methods block, so call them in a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Beside the folder, not in it: Metro and editors watch what is inside.
        self._records = root.parent / _RECORDS
        self._record_path = self._records / f"{root.name}.json"
        self._port_path = self._records / f"{root.name}.port"
        self._left_out: frozenset[str] = frozenset()

    @property
    def is_published(self) -> bool:
        """Whether something was published here and the folder still exists."""
        return self._record_path.is_file() and self.root.is_dir()

    @property
    def revision(self) -> str | None:
        """The revision given to the last finished `publish`."""
        return self._read_record().revision if self.is_published else None

    def publish(self, tree: FileTree, revision: str | None = None) -> tuple[str, ...]:
        """Make the folder show this tree. Idempotent; also completes an interrupted publish.

        New files come first, then changed ones, each by one rename, then deletions. Files that the person changed
        since the last publish are not touched; their paths are returned, and `edits` reports them.
        Raises WorkspaceError for a path that a revision cannot hold, or that leads out of the folder.
        """
        for path in tree:
            split_path(path)
            if not is_versioned(path):
                raise WorkspaceError(
                    f"{path} cannot be published.", "Leave it out of the revision."
                )
        with self._locked():
            record = self._read_record() if self.is_published else _Record()
            self.root.mkdir(parents=True, exist_ok=True)
            wanted = {path: _hash(content) for path, content in tree.items()}
            scan = self._scan()
            held = _hashes(scan.files)
            underway = record.during(wanted, held)
            self._write_record(underway)
            try:
                theirs = self._project(tree, wanted, record, scan)
            except WorkspaceError:
                self._settle(underway)
                raise
            except OSError as error:
                self._settle(underway)
                raise WorkspaceError(
                    f"The folder {self.root} cannot be written: {error.strerror or error}.",
                    "Check its permissions and the free space. The project itself is safe.",
                ) from error
            self._write_record(_Record({path: (wanted[path],) for path in wanted}, revision))
        return theirs

    def served_on(self, port: int | None) -> None:
        """Set the loopback port of the Metro that serves the folder, or None. `publish` waits for that Metro."""
        self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
        if port is None:
            self._port_path.unlink(missing_ok=True)
        else:
            self._port_path.write_text(f"{port} {self._inode()}", encoding="utf-8")

    @property
    def port(self) -> int | None:
        """The loopback port of the Metro that serves the folder; None if none does."""
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            return int(self._port_path.read_text(encoding="utf-8").split(maxsplit=1)[0])
        return None

    @property
    def is_replaced(self) -> bool:
        """Whether the folder was replaced since its Metro started, which therefore no longer finds any file."""
        try:
            started_in = self._port_path.read_text(encoding="utf-8").split()[1:]
            return started_in not in ([], [str(self._inode())])
        except FileNotFoundError:
            return False

    def _inode(self) -> int:
        return self.root.stat().st_ino

    def edits(self) -> Edits | None:
        """What the person changed since the last publish; None if nothing changed or nothing was published."""
        with self._locked():
            if not self.is_published:
                return None
            record = self._read_record()
            scan = self._scan()
        tree = scan.files
        hashes = _hashes(tree)
        changed = {path: tree[path] for path in tree if not record.is_ours(path, hashes[path])}
        missing = record.states.keys() - tree.keys()
        deleted = frozenset(
            path for path in missing if not record.is_ours(path, None) and not scan.hides(path)
        )
        return Edits(changed, deleted) if changed or deleted else None

    def _scan(self) -> Scan:
        scan = scan_tree(self.root)
        if scan.unread - self._left_out:
            left_out = ", ".join(sorted(scan.unread))
            log.warning(
                "%s: not saved (links, unreadable files and files over 10 MB): %s",
                self.root.name,
                left_out,
            )
        self._left_out = scan.unread
        return scan

    def _settle(self, underway: _Record) -> None:
        """Narrow the record after a failed publish, so that later deletions count as the person's."""
        # If the folder cannot be read, the wider record stays, which is still correct.
        with contextlib.suppress(WorkspaceError):
            self._write_record(underway.after(_hashes(scan_tree(self.root).files)))

    def _project(
        self, tree: FileTree, wanted: Mapping[str, str], record: _Record, scan: Scan
    ) -> tuple[str, ...]:
        held = _hashes(scan.files)
        known = record.states.keys()
        # Without a record no file is known to be the person's, so the tree wins.
        theirs = {
            path
            for path in (wanted.keys() | known if known else ())
            if held.get(path) != wanted.get(path)
            and (path in scan.unread or not record.is_ours(path, held.get(path)))
        }
        mine = {path: tree[path] for path in tree if held.get(path) != wanted[path]}
        new = {path: mine[path] for path in mine if path not in held and path not in theirs}
        changed = {path: mine[path] for path in mine if path in held and path not in theirs}
        gone = sorted((known & held.keys()) - wanted.keys() - theirs)
        self._add(new)
        if new and changed:
            self._wait_for_metro(new)
        write_tree(changed, self.root)
        if changed and gone:
            self._wait_for_metro(())
        self._delete(gone)
        return tuple(sorted(theirs))

    def _wait_for_metro(self, added: Iterable[str]) -> None:
        """Metro must know a file before another imports it, and drop the imports of a file before it is deleted."""
        if (port := self.port) is not None:
            MetroView(self.root, port).catch_up(added, seconds=_METRO_SECONDS)

    def _add(self, new: FileTree) -> None:
        """Add new files; a new folder appears with all its files in one rename.

        Metro starts to watch a new folder a moment after it appears, and misses files written in between.
        """
        with open_root(self.root) as root:
            tops = {path: split_path(path)[0] for path in new if "/" in path}
            fresh = {top for top in tops.values() if not _exists(root, top)}
            arriving = {path: new[path] for path in new if tops.get(path) in fresh}
            if arriving:
                scratch = Path(tempfile.mkdtemp(prefix="arriving-", dir=self._records))
                try:
                    write_tree(arriving, scratch)
                    for top in sorted(fresh):
                        os.rename(scratch / top, top, dst_dir_fd=root)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
        write_tree({path: new[path] for path in new if path not in arriving}, self.root)

    def _delete(self, paths: list[str]) -> None:
        with open_root(self.root) as root:
            for path in paths:
                parts = split_path(path)
                # A folder that was deleted in between took the file with it.
                with (
                    contextlib.suppress(FileNotFoundError, MissingFile),
                    open_parent(root, parts, twins=True) as parent,
                ):
                    os.unlink(parts[-1], dir_fd=parent)
                for depth in range(len(parts) - 1, 0, -1):
                    # Fails for folders that are not empty; these hold other files, perhaps the person's.
                    with (
                        contextlib.suppress(OSError, MissingFile),
                        open_parent(root, parts[:depth], twins=True) as parent,
                    ):
                        os.rmdir(parts[depth - 1], dir_fd=parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(self._records / f"{self.root.name}.lock", thread_local=False):
            yield

    def _read_record(self) -> _Record:
        try:
            return _Record(**json.loads(self._record_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return _Record()
        except (ValueError, TypeError) as error:
            raise WorkspaceError(
                f"{self._record_path} cannot be read: {error}.",
                "Move it away. The folder is then published again.",
            ) from error

    def _write_record(self, record: _Record) -> None:
        beside = self._record_path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(record)), encoding="utf-8")
        beside.replace(self._record_path)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _hashes(tree: FileTree) -> dict[str, str]:
    return {path: _hash(content) for path, content in tree.items()}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
