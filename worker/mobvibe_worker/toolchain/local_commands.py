"""Runs the checks' commands as local processes: not sandboxed, but without secrets in their environment."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from mobvibe_worker.home import SdkFolder
from mobvibe_worker.processes.guarded import PIPE, Finished, GuardedProcess, StopPolicy, run
from mobvibe_worker.toolchain.commands import Argument, InputFile
from mobvibe_worker.toolchain.metro import NODE_FLAGS, metro_environment
from mobvibe_worker.toolchain.node import Node

# With a softer signal, Expo's dev server would first finish compiling. Killing it is safe: truncated cache entries
# count as missing, and its file map belongs to this folder only.
_AT_ONCE = StopPolicy(signal="KILL")
_LOOPBACK = Path(__file__).with_name("loopback.cjs")


class LocalCommands:
    """Runs commands on one project's folder, with the SDK's packages of this home."""

    is_sandboxed = False

    def __init__(self, project: Path, folder: SdkFolder, node: Node, *, niceness: int = 0) -> None:
        # Node reports real paths, which differ from ours if the home is behind a link (as /tmp is on macOS).
        self.project = project.resolve()
        self.modules = folder.modules
        self._folder = folder
        self._node = node
        self._niceness = niceness

    async def run(self, argv: Sequence[Argument], *, time_limit: float) -> Finished:
        with self._written(argv) as words:
            return await run(
                (self._node.executable, *words[1:]),
                cwd=self.project,
                env=metro_environment(self._node, self._folder),
                time_limit=time_limit,
            )

    async def port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    async def serve(self, argv: Sequence[str | PurePath]) -> GuardedProcess:
        nice = shutil.which("nice") if self._niceness else None
        prefix = (nice, "-n", str(self._niceness)) if nice else ()
        return await GuardedProcess.start(
            (
                *prefix,
                self._node.executable,
                *NODE_FLAGS,
                "--require",
                _LOOPBACK,
                *map(str, argv[1:]),
            ),
            cwd=self.project,
            env=metro_environment(self._node, self._folder),
            stdout=PIPE,
            stop=_AT_ONCE,
        )

    async def close(self) -> None:
        """Do nothing: each command ends with its own caller."""

    @contextlib.contextmanager
    def _written(self, argv: Sequence[Argument]) -> Iterator[list[str]]:
        """The command's words; its input files exist beside the packages while the context is open."""
        with contextlib.ExitStack() as written:
            yield [
                str(self._write(word, written)) if isinstance(word, InputFile) else str(word)
                for word in argv
            ]

    def _write(self, file: InputFile, written: contextlib.ExitStack) -> Path:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix=".input-",
            suffix=file.suffix,
            dir=self._folder.root,
            delete=False,
            encoding="utf-8",
        ) as beside:
            written.callback(Path(beside.name).unlink, missing_ok=True)
            beside.write(file.text)
        return Path(beside.name)
