"""Previews as services: one Metro per project under the home's supervisor, each on its own remembered port."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from filelock import FileLock, Timeout

from mobvibe_app.preview.events import is_event_line, new_mark
from mobvibe_app.preview.facts import Usage
from mobvibe_app.preview.log import PreviewLog
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Exits, Supervisor
from mobvibe_app.supervisor.ports import PortTaken, holder_of, is_free, pick_port
from mobvibe_app.supervisor.protocol import RunningService
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.metro import MetroClient, last_words
from mobvibe_worker.toolchain.sdks import Sdk
from mobvibe_worker.workspace.metro_view import MetroView
from mobvibe_worker.workspace.publish import ServedFolder

FIRST_PORT = 8081
_EVERY_ADDRESS = "0.0.0.0"
_PORT_ATTEMPTS = 5
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.05
_LARGEST_LOG = 5_000_000


@dataclass(frozen=True, slots=True)
class ServedPreview:
    """A Metro that answers: `metro_url` is http://host:port as a phone reaches it, `pid` its process group."""

    port: int
    metro_url: str
    pid: int


@dataclass(frozen=True, slots=True)
class Serving:
    """One start of a project's Metro: what it serves, where, and by what its events are known in the log.

    `log_offset` is the log's size before, in bytes.
    """

    slug: str
    served: Path
    port: int
    host: str
    mark: str
    log_offset: int


class PreviewService(ABC):
    """The previews of one home and SDK. They run for as long as a lease on the supervisor is held."""

    mode: ClassVar[Literal["process", "docker"]]

    def __init__(self, home: Home, supervisor: Supervisor, sdk: Sdk) -> None:
        self._home = home
        self._supervisor = supervisor
        self._sdk = sdk
        self._folder = home.sdk(sdk.version)
        self._choices = Choices(home.choices)
        self._starting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @abstractmethod
    async def launch(self, serving: Serving) -> RunningService:
        """Start the service that serves a folder; it may not answer yet. Raises ServiceError, PortTaken."""

    @abstractmethod
    async def usage(self, project_slug: str) -> Usage | None:
        """What the project's preview takes now; None where none runs. Raises ServiceError."""

    def facts(self, serving: Serving) -> dict[str, Any]:
        """What whoever asks the supervisor for the preview learns of it."""
        return {
            "port": serving.port,
            "sdk": self._sdk.version,
            "project": serving.slug,
            "mode": self.mode,
            "mark": serving.mark,
            "log_offset": serving.log_offset,
            "is_open": self.is_open(serving.host),
        }

    def is_open(self, host: str) -> bool:
        """Whether one that is started for `host` listens on more than loopback: as a process always."""
        return True

    async def events(self, project_slug: str) -> PreviewLog | None:
        """What the project's running Metro tells, from its start on; None where none runs."""
        running = await self._supervisor.running(service_name(project_slug))
        if running is None or "mark" not in running.facts:
            return None
        facts = running.facts
        return PreviewLog(self.log(project_slug), facts["mark"], facts["log_offset"])

    def log(self, project_slug: str) -> Path:
        """Where what Metro prints is kept."""
        return self._home.logs / f"{service_name(project_slug)}.log"

    async def start(
        self, project_slug: str, *, host: str, port: int | None = None
    ) -> ServedPreview:
        """Serve the project's served folder; the Metro that runs already is taken. Ready when this returns.

        `host` is this machine's address for phones. `port` is fixed by the person; without it the project's last one
        is taken, or the next that is free. Raises ServiceError: port taken, or what Metro said when it ended.
        """
        async with (
            self._starting[project_slug],
            _alone(self._home.run / f"start-{project_slug}.lock"),
        ):
            return await self._start(project_slug, host, port)

    async def _start(self, project_slug: str, host: str, port: int | None) -> ServedPreview:
        name = service_name(project_slug)
        rejected: set[int] = set()
        for _ in range(_PORT_ATTEMPTS):
            running = await self._supervisor.running(name)
            is_replaced = self._served(project_slug).is_replaced
            if running is not None and (is_replaced or self._is_other(running, port, host)):
                await self._supervisor.stop(name)
                running = None
            exits = self._supervisor.exits()
            offset = self._rotate_log(project_slug) if running is None else 0
            chosen = running.facts["port"] if running is not None else 0
            try:
                if running is None:
                    chosen = await asyncio.to_thread(self._pick_port, name, port, rejected)
                    running = await self.launch(self._prepared(project_slug, chosen, host, offset))
                    chosen = running.facts["port"]
                await self._until_ready(project_slug, running, exits, host, offset)
            except PortTaken:
                rejected.add(chosen)
                continue
            self._choices.remember_port(name, chosen)
            self._served(project_slug).served_on(chosen)
            return ServedPreview(chosen, f"http://{host}:{chosen}", running.pid)
        raise ServiceError(
            "No free port was found for the preview.", "Set one with --preview-port."
        )

    async def stop(self, project_slug: str) -> None:
        """End the project's Metro and all that it started; harmless where none runs."""
        await self._supervisor.stop(service_name(project_slug))
        self._served(project_slug).served_on(None)

    async def ended(self, project_slug: str) -> ServiceError | None:
        """Wait until the project's Metro ends; says why, or None where it was stopped on purpose."""
        name = service_name(project_slug)
        exits = self._supervisor.exits()
        if await self._supervisor.running(name) is not None:
            async for exit_ in exits:
                if exit_.name == name:
                    return None if exit_.was_asked else self._failure(project_slug, "ended", 0)
        return None

    def _is_other(self, running: RunningService, port: int | None, host: str) -> bool:
        """It runs in another way than asked for."""
        is_moved = port not in (None, running.facts["port"])
        is_older = "mark" not in running.facts  # An earlier version of this program started it.
        # Made while there was no network, or for this machine alone: its port is on loopback only.
        is_elsewhere = running.facts.get("is_open") != self.is_open(host)
        return is_moved or is_older or is_elsewhere or running.facts.get("mode") != self.mode

    def _prepared(self, project_slug: str, port: int, host: str, log_offset: int) -> Serving:
        served = self._folder.served(project_slug)
        served.mkdir(parents=True, exist_ok=True)
        MetroView(served, port).write_marker()
        return Serving(project_slug, served, port, host, new_mark(), log_offset)

    def _pick_port(self, name: str, fixed: int | None, rejected: set[int]) -> int:
        if fixed is None:
            remembered = self._choices.ports()
            preferred = remembered.pop(name, FIRST_PORT)
            return pick_port(preferred, {*remembered.values(), *rejected}, _EVERY_ADDRESS)
        if fixed in rejected or not is_free(fixed, _EVERY_ADDRESS):
            holder = holder_of(fixed) or "another program"
            raise ServiceError(
                f"Port {fixed}, set for the preview, is taken by {holder}.",
                "End that program, or set another port.",
            )
        return fixed

    def _served(self, project_slug: str) -> ServedFolder:
        return ServedFolder(self._folder.served(project_slug))

    async def _until_ready(
        self,
        project_slug: str,
        running: RunningService,
        exits: Exits,
        host: str,
        offset: int,
    ) -> None:
        port = running.facts["port"]
        asked_as = f"{host}:{port}"
        async with _ending(running.name, exits) as ending, MetroClient(port) as client:
            deadline = time.monotonic() + _READY_SECONDS
            while not ending.done():
                if await client.is_running():
                    break
                if time.monotonic() > deadline:
                    await self._supervisor.stop(running.name)
                    raise self._failure(project_slug, "does not become ready", offset)
                await asyncio.wait((ending,), timeout=_POLL_SECONDS)
            if ending.done():
                self._raise_ended(project_slug, running, offset)
            manifest = await client.manifest("ios", asked_as=asked_as)
        if manifest.host != asked_as:
            raise ServiceError(
                f"What answers on port {port} is not this preview.",
                "End the other program, or set another port.",
            )

    def _raise_ended(self, project_slug: str, running: RunningService, offset: int) -> None:
        said = self._said(project_slug, offset)
        port = running.facts["port"]
        # Without a terminal Expo asks nobody whether it may take another port: it ends.
        if any(words in said for words in (f"Port {port} is", "EADDRINUSE", "port is taken")):
            raise PortTaken(f"Port {port} was taken just now.", "Try again.")
        raise self._failure(project_slug, "ended", offset)

    def _failure(self, project_slug: str, how: str, offset: int) -> ServiceError:
        said = last_words(self._said(project_slug, offset))
        return ServiceError(
            f"The preview of {project_slug} {how}: {said}",
            f"See {self.log(project_slug)}, then open the preview again.",
        )

    def _said(self, project_slug: str, offset: int) -> str:
        try:
            with self.log(project_slug).open("rb") as log:
                log.seek(offset)
                said = log.read()[-20_000:].decode(errors="replace")
                return "\n".join(line for line in said.splitlines() if not is_event_line(line))
        except FileNotFoundError:
            return ""

    def _rotate_log(self, project_slug: str) -> int:
        """The size of the log, in bytes, from which the next start's lines follow."""
        log = self.log(project_slug)
        try:
            size = log.stat().st_size
        except FileNotFoundError:
            return 0
        if size <= _LARGEST_LOG:
            return size
        log.replace(log.with_suffix(".log.1"))
        return 0


def service_name(project_slug: str) -> str:
    """What the supervisor calls a project's preview."""
    return f"preview-{project_slug}"


@contextlib.asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Between processes too: two clients of a home that start the same preview end up with one."""
    lock = FileLock(path, thread_local=False)
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextlib.asynccontextmanager
async def _ending(name: str, exits: Exits) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is done when the service has ended, or the supervisor."""

    async def end() -> None:
        async for exit_ in exits:
            if exit_.name == name:
                return

    task = asyncio.create_task(end(), name=f"end of {name}")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
