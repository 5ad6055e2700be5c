"""The paths in the home folder, which holds all state. Homes are independent of each other."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Home:
    """The paths in one home. Only `prepare` creates anything."""

    root: Path

    def prepare(self) -> None:
        """Create the folder, private to its owner. Raises ServiceError if it is not writable."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.run, self.logs, self.secrets, self.failed_attempts):
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
        """Locks, sockets and pids of running processes."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        """Generated passwords, one file of mode 0600 each."""
        return self.root / "secrets"

    @property
    def failed_attempts(self) -> Path:
        """Copies of the staged folders of failed attempts."""
        return self.root / "failed_attempts"

    @property
    def exports(self) -> Path:
        """Copies of the projects' files, one folder per export."""
        return self.root / "exports"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def choices(self) -> Path:
        """Remembered ports and modes, as JSON."""
        return self.root / "choices.json"

    def sdk(self, version: int) -> SdkFolder:
        return SdkFolder(self.root / f"sdk-{version}")


@dataclass(frozen=True, slots=True)
class SdkFolder:
    """The paths of one Expo SDK.

    Staged and served folders are at the same depth below node_modules, so that all projects share one install and
    one transform cache.
    """

    root: Path

    @property
    def modules(self) -> Path:
        return self.root / "node_modules"

    @property
    def starter(self) -> Path:
        """The starter's files, from which new projects are made."""
        return self.root / "starter"

    @property
    def cache(self) -> Path:
        """TMPDIR of every Node process; contains Metro's transform cache."""
        return self.root / "cache"

    @property
    def node_home(self) -> Path:
        """HOME of every Node process. Expo keeps an id here that scopes the storage in Expo Go, so it must persist."""
        return self.root / "home"

    def staged(self, name: str) -> Path:
        return self.root / "staged" / name

    def served(self, name: str) -> Path:
        """The folder that Metro and the person's editor see."""
        return self.root / "served" / name
