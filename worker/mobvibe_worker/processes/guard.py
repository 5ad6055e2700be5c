"""Runs one program, and ends it with its descendants when the pipe on stdin closes, even by kill -9 of its holder.

It runs as a separate program (python -I -S guard.py ...), so it only imports what loads within a few milliseconds.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_LAST_GRACE = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_RESET = ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGXFSZ")


class Guard:
    """Runs one child, ends it step by step, and cleans up its descendants."""

    def __init__(self, options: dict[str, str], argv: list[str]) -> None:
        self.argv = argv
        self.first = signal.Signals[f"SIG{options['--signal']}"]
        self.then = signal.Signals[f"SIG{options['--then']}"]
        self.is_group = options["--scope"] == "group"
        self.grace = float(options["--grace"])
        self.report_fd = int(options.get("--report", "-1"))
        self.pid = 0
        self.status: int | None = None
        self._prctl = _find_prctl()

    def run(self) -> int:
        """Run the child until it ends or must end. The exit code is the child's, or 128+n if signal n ended it."""
        if self._prctl:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake = _wake_on_signals()
        self.pid = self._spawn()
        self._report(f"pid {self.pid}\n")
        self._watch(wake)
        self._sweep()
        code = os.waitstatus_to_exitcode(self.status or 0)
        return code if code >= 0 else 128 - code

    def _spawn(self) -> int:
        if self.report_fd >= 0:
            os.set_inheritable(self.report_fd, False)
        guard = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 126
        try:
            self._become_child(guard)
            os.execvpe(self.argv[0], self.argv, os.environ)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            if self.report_fd >= 0:
                os.write(self.report_fd, f"errno {error.errno}\n".encode())
        finally:
            os._exit(code)

    def _become_child(self, guard: int) -> None:
        os.setsid()
        for name in _RESET:
            signal.signal(signal.Signals[name], signal.SIG_DFL)
        if self._prctl:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if self.is_group else self.first, 0, 0, 0)
            if os.getppid() != guard:
                os._exit(126)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)

    def _report(self, line: str) -> None:
        if self.report_fd < 0:
            return
        # If the reader has ended, its lifeline is closed as well, which ends the child in `_watch`.
        with suppress(BrokenPipeError):
            os.write(self.report_fd, line.encode())
        os.close(self.report_fd)

    def _watch(self, wake: int) -> None:
        """Wait for the child to end. Once the lifeline closes, send ever stronger signals."""
        orders = [
            (self.first, self.is_group, self.grace),
            (self.then, self.is_group, _LAST_GRACE),
            (signal.SIGKILL, True, _LAST_GRACE),
        ]
        deadline: float | None = None
        while not self._reap():
            if deadline is not None and time.monotonic() >= deadline and orders:
                number, is_group, grace = orders.pop(0)
                self._send(number, is_group)
                deadline = time.monotonic() + grace
            waiting = None if deadline is None else max(0.0, deadline - time.monotonic())
            sources = [wake, 0] if deadline is None else [wake]
            ready, _, _ = select.select(sources, [], [], waiting)
            asked = wake in ready and bytes([signal.SIGTERM]) in os.read(wake, 512)
            if deadline is None and (asked or (0 in ready and not os.read(0, 512))):
                deadline = time.monotonic()

    def _reap(self) -> bool:
        """Whether the child has ended. Reaps adopted orphans as well."""
        while self.status is None:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return False
            if pid == self.pid:
                self.status = status
        return True

    def _send(self, number: signal.Signals, is_group: bool) -> bool:
        try:
            (os.killpg if is_group else os.kill)(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS: EPERM if only zombies are left
            return False
        return True

    def _sweep(self) -> None:
        """Kill what the child left behind: its group and, on Linux, descendants outside of the group."""
        deadline = time.monotonic() + _LAST_GRACE
        while time.monotonic() < deadline:
            is_group_left = self._send(signal.SIGKILL, True)
            for orphan in _children():
                with suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
            # The kernel's list of children may miss some while others end. Waiting shows whether any is left.
            if not _has_children() and not is_group_left:
                return
            time.sleep(0.002)


def _find_prctl() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    import ctypes

    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    return prctl


def _wake_on_signals() -> int:
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return read


def _children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children") as listing:  # noqa: PTH123 (pathlib is slow to import)
            return [int(pid) for pid in listing.read().split()]
    except FileNotFoundError:
        return []


def _has_children() -> bool:
    """Whether a child still runs. Reaps those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def main(arguments: list[str]) -> int:
    """Run the program after `--` with the options before it."""
    split = arguments.index("--")
    options = dict(zip(arguments[:split:2], arguments[1:split:2], strict=True))
    return Guard(options, arguments[split + 1 :]).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
