"""Tracks a project's folders, to notice those that Metro does not know yet or that were replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed since the last look."""

    added: tuple[Path, ...]
    folders: tuple[Path, ...]
    """Every folder, the project's own first."""
    is_replaced: bool
    """A folder was deleted and recreated, so Metro still watches the deleted one."""

    def files(self) -> list[Path]:
        return _files_in(self.added)

    def all_files(self) -> list[Path]:
        return _files_in(self.folders)


@dataclass(slots=True)
class KnownFolders:
    """The project's folders at the last look. Each is held open, so that its inode number is not reused."""

    root: Path
    _held: dict[Path, int] = field(default_factory=dict)

    def look(self) -> Difference:
        """Compare the folders with the last look, and remember them."""
        now = set(_folders_below(self.root))
        for gone in self._held.keys() - now:
            os.close(self._held.pop(gone))
        added = sorted(now - self._held.keys())
        is_replaced = False
        for folder in now & self._held.keys():
            if not os.path.samestat(os.fstat(self._held[folder]), folder.stat()):
                is_replaced = True
                os.close(self._held.pop(folder))
                self._hold(folder)
        for folder in added:
            self._hold(folder)
        return Difference(tuple(added), (self.root, *sorted(now)), is_replaced)

    def close(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _hold(self, folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._held[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _folders_below(root: Path) -> list[Path]:
    found = []
    for place, names, _ in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        found += [Path(place, name) for name in names if not Path(place, name).is_symlink()]
    return found


def _files_in(folders: Iterable[Path]) -> list[Path]:
    return [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.is_symlink() and not file.name.startswith(".")
    ]
