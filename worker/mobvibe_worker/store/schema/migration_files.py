"""Reads the numbered SQL files of the migrations."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import MigrationRefused

_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+?)(?P<down>\.down)?\.sql")
_TABLE = re.compile(
    r"^create table (?:if not exists )?((?:public|private)\.\w+)", re.IGNORECASE | re.MULTILINE
)
_FUNCTION = re.compile(
    r"^create (?:or replace )?function public\.(\w+)", re.IGNORECASE | re.MULTILINE
)
_BLOCK = re.compile(r"^do \$\$\n.*?^\$\$;", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_NO_TRANSACTION = "-- mobvibe:no-transaction"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One migration with its way down, if it has one. Line ends are LF."""

    version: int
    name: str
    text: str
    down: str | None

    @property
    def file_name(self) -> str:
        return f"{self.version:04}_{self.name}.sql"

    @property
    def sha256(self) -> str:
        """Changes if the file is edited after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def tables(self) -> frozenset[str]:
        """The tables that it creates, as `public.NAME` or `private.NAME`."""
        return frozenset(_TABLE.findall(self.text))

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions of `public` that it creates."""
        return frozenset(_FUNCTION.findall(self.text))

    @property
    def host_cleanup(self) -> list[str]:
        """The blocks of its way down that drop what it created for the host, which carries the mark `mobvibe-shim`."""
        return [block for block in _BLOCK.findall(self.down or "") if "'mobvibe-shim'" in block]


def runs_by_itself(script: str) -> bool:
    """Whether the script asks to run outside a transaction."""
    return script.startswith(_NO_TRANSACTION)


def migrations_folder() -> Path:
    """The folder in the installed package, or at the top of a checkout."""
    packaged = Path(__file__).parents[2] / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "migrations"


def our_tables() -> frozenset[str]:
    """The tables of `public` that the migrations create. The database may hold others."""
    made = frozenset[str]().union(*(file.tables for file in read_migrations(migrations_folder())))
    return frozenset(name.removeprefix("public.") for name in made if name.startswith("public."))


def our_functions() -> frozenset[str]:
    return frozenset[str]().union(
        *(file.functions for file in read_migrations(migrations_folder()))
    )


def read_migrations(folder: Path) -> list[MigrationFile]:
    """All migrations in order. Raises MigrationRefused for a wrong name, a repeated number or a down file alone."""
    ups: dict[int, tuple[str, str]] = {}
    downs: dict[int, tuple[str, str]] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise _refused(f"{path.name} is not named NNNN_name.sql or NNNN_name.down.sql.")
        version, side = int(match["version"]), downs if match["down"] else ups
        if version in side:
            raise _refused(f"{path.name} has the number of {version:04}_{side[version][0]}.sql.")
        side[version] = match["name"], path.read_text(encoding="utf-8").replace("\r\n", "\n")
    for version, (name, _) in downs.items():
        if version not in ups or ups[version][0] != name:
            raise _refused(f"{version:04}_{name}.down.sql has no {version:04}_{name}.sql.")
    if not ups:
        raise _refused(f"There are no migrations in {folder}.")
    return [
        MigrationFile(version, name, text, downs[version][1] if version in downs else None)
        for version, (name, text) in sorted(ups.items())
    ]


def _refused(message: str) -> MigrationRefused:
    return MigrationRefused(message, "Correct the file, or install mobvibe-tui again.")
