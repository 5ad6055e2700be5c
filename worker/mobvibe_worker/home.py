"""The home folder: one function per place in it. All state lives there; two homes never meet."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Home:
    """The places of one home. Nothing is made before `prepare`."""

    root: Path

    def prepare(self) -> None:
        """Make the folder, private to its owner. Raises ServiceError where it cannot be written."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.run, self.logs, self.secrets, self.kept):
                folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"writable")
        except OSError as error:
            raise ServiceError(
                f"The home folder {self.root} cannot be written: {error.strerror or error}.",
                "Choose another with --home DIR or MOBVIBE_HOME.",
            ) from error

    @property
    def run(self) -> Path:
        """Locks, sockets and pids of what runs now."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log file per service."""
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        """Generated passwords, 0600 each."""
        return self.root / "secrets"

    @property
    def kept(self) -> Path:
        """Staged folders of attempts that failed, kept aside."""
        return self.root / "kept"

    @property
    def postgres(self) -> Path:
        """Embedded Postgres: its cluster and its settings."""
        return self.root / "postgres"

    @property
    def choices(self) -> Path:
        """The remembered choices (ports, modes), JSON."""
        return self.root / "choices.json"

    def sdk(self, version: int) -> SdkFolder:
        """Everything that depends on one Expo SDK."""
        return SdkFolder(self.root / f"sdk-{version}")


@dataclass(frozen=True, slots=True)
class SdkFolder:
    """One Expo SDK: node_modules lies one level above every project's folder, staged or served, at the same
    relative distance, so that all of them share one install and one transform cache."""

    root: Path

    @property
    def modules(self) -> Path:
        """The starter's packages."""
        return self.root / "node_modules"

    @property
    def starter(self) -> Path:
        """The starter's own files, as a new project gets them."""
        return self.root / "starter"

    @property
    def cache(self) -> Path:
        """TMPDIR of every Node process: Metro's transform cache lies here."""
        return self.root / "cache"

    @property
    def node_home(self) -> Path:
        """HOME of every Node process; stable, as Expo Go's storage is scoped by what Expo keeps here."""
        return self.root / "home"

    def staged(self, name: str) -> Path:
        """The folder that one attempt works in."""
        return self.root / "staged" / name

    def served(self, name: str) -> Path:
        """The folder that Metro and the person's editor see."""
        return self.root / "served" / name
