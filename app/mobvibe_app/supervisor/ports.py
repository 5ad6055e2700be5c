"""Finds free ports, and the program that holds a taken one."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection

_NEIGHBOURS = 100


def pick_port(preferred: int | None, taken: Collection[int] = (), host: str = "127.0.0.1") -> int:
    """The preferred port, else the next free one above it, else any free one; never one of `taken`.

    Another program may still take it before the caller does.
    """
    if preferred is not None:
        last = min(preferred + _NEIGHBOURS, 65_536)
        for port in range(preferred, last):
            if port not in taken and is_free(port, host):
                return port
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now. Raises OSError if the host is not an address of ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    # On macOS a server may bind one address although another server holds all of them, so check whether one answers.
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1" if host == "0.0.0.0" else host, port)) != 0


def holder_of(port: int) -> str | None:
    """The program that listens on the port, as `name (pid 123)`; None if we may not see it."""
    import psutil

    with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
                continue
            if connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None


def is_listening(pid: int, port: int) -> bool:
    """Whether the process, or one that it started, listens on the port."""
    import psutil

    with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for process in (root, *root.children(recursive=True))
            for connection in process.net_connections(kind="tcp")
        )
    return False
