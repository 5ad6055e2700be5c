"""Free ports, and who holds one that is not."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection

_NEIGHBOURS = 100


def pick_port(preferred: int | None, taken: Collection[int] = (), host: str = "127.0.0.1") -> int:
    """The preferred port, else the next free one above it, else any. Ports in `taken` are left to their owners.

    Another program may still be faster: whoever listens there has to be ready for that.
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
    """Whether a server could listen on the port now. Raises OSError where the host is not an address of ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    # macOS lets a second server bind one address where another holds all of them: ask whether one answers.
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1" if host == "0.0.0.0" else host, port)) != 0


def holder_of(port: int) -> str | None:
    """The program that listens on the port, as `name (pid 123)`; None where that cannot be seen."""
    import psutil

    with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
                continue
            if connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None
