"""Where the supervisor of a home listens, and the locks that keep it the only one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home

_LONGEST_SOCKET_PATH = 100
"""Bytes. The kernel takes 108 (Linux) or 104 (macOS), with a NUL at the end."""


def socket_path(home: Home) -> Path:
    """The supervisor's Unix socket. If the home's path is too long it is in a private folder of the temporary one.

    Raises ServiceError if that folder belongs to another user.
    """
    path = home.run.resolve() / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(home.root.resolve())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"mobvibe-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ServiceError(
            f"{folder} is not a private folder of yours.", "Remove it, or set TMPDIR to another."
        )
    return folder / f"{name}.sock"


def supervisor_log(home: Home) -> Path:
    return home.logs / "supervisor.log"


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a file lock; yields False if another process holds it. The kernel frees it when its holder dies."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
