"""Which process a worker is, and on which host: enough for another one there to see that it is dead."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_FIELDS_BEFORE_START = 19
_DEAD_STATES = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process among all that its host ever had: pids come again, start times do not."""

    host_key: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        """This process."""
        return cls(host_key(), os.getpid(), _look(os.getpid())[0] or "")


def host_key() -> str:
    """The same for two processes only when a pid means the same to both: one boot of one host, one pid namespace."""
    name = socket.gethostname()
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        return f"{name}:{boot}:{_PID_NAMESPACE.stat().st_ino}"
    except OSError:
        return f"{name}:{uuid.getnode():x}"


def is_seen_dead(pid: int, started: str) -> bool:
    """Whether the process is certainly gone, or its pid belongs to a later one. What cannot be seen is not dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, but there
    now, is_ended = _look(pid)
    return is_ended or (bool(started) and now is not None and now != started)


def _look(pid: int) -> tuple[str | None, bool]:
    """When the process started, where that can be seen, and whether it ended and only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _look_elsewhere(pid)
    # The name before it is the program's own choice, and may hold blanks and brackets.
    rest = stat.rpartition(")")[2].split()
    return rest[_FIELDS_BEFORE_START], rest[0] in _DEAD_STATES


def _look_elsewhere(pid: int) -> tuple[str | None, bool]:
    try:
        process = psutil.Process(pid)
        return f"{process.create_time():.2f}", process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None, False
