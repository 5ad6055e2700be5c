"""Keeps one container running as a service of the supervisor: starts it, forwards its output, restarts it.

This is a separate program (python -m ... NAME). Any signal that lets it end properly ends the container too.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import EngineUnavailable
from mobvibe_app.supervisor.protocol import ServiceSpec
from mobvibe_app.supervisor.restarts import RestartBudget
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.processes.guarded import StopPolicy
from mobvibe_worker.processes.surroundings import allowed_environment

_ENGINE_NAMES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH")
_PASSED = (*_ENGINE_NAMES, "DOCKER_TLS_VERIFY", "SSH_AUTH_SOCK", "PYTHONPATH")
LEAST_LIFE_SECONDS = 5.0
"""A container that ends sooner has a problem that a restart does not fix."""
_ENGINE_SECONDS = 120.0
_RETRY_SECONDS = 0.5


def keeper_spec(
    service: str,
    container: str,
    *,
    log: Path,
    stop_seconds: int,
    is_disposable: bool,
    facts: Mapping[str, object],
    since: float | None = None,
) -> ServiceSpec:
    """The service that keeps this container running for as long as it runs itself.

    `since` is the Unix time of the container's start if the caller starts it; its output since then is passed on.
    """
    disposable = ("--disposable",) if is_disposable else ()
    since_words = () if since is None else ("--since", str(since))
    return ServiceSpec(
        service,
        (
            *(sys.executable, "-P", "-m", "mobvibe_app.containers.keeper"),
            *(container, "--stop-seconds", str(stop_seconds), *disposable, *since_words),
        ),
        cwd=log.parent,
        log=log,
        env=allowed_environment({name: os.environ[name] for name in _PASSED if name in os.environ}),
        stop=StopPolicy(signal="TERM", scope="process", grace=stop_seconds + 10.0),
        facts={"mode": "docker", "container": container, **facts},
    )


def ready_line(container: str) -> str:
    """What the keeper prints once the container is certain to end with it."""
    return f"keeping {container}"


class Keeper:
    """Keeps one container running until SIGTERM."""

    def __init__(
        self,
        container: str,
        stop_seconds: int,
        *,
        is_disposable: bool,
        since: float | None = None,
    ) -> None:
        self._container = container
        self._stop_seconds = stop_seconds
        self._is_disposable = is_disposable
        self._since = since
        self._asked = threading.Event()
        self._restarts = RestartBudget()

    def run(self) -> int:
        """Run until the container ends; its exit code, 0 if it was stopped on purpose. Raises MobvibeError."""
        signal.signal(signal.SIGTERM, lambda *_: self._asked.set())
        _print(ready_line(self._container))
        while True:
            began = time.monotonic()
            try:
                code = self._run_once()
            except EngineUnavailable as error:
                if not self._asked.is_set() and not self._wait_for_engine(error):
                    raise
                if not self._asked.is_set():
                    continue
                return 0
            if self._asked.is_set():
                return 0
            lived = time.monotonic() - began
            if lived < LEAST_LIFE_SECONDS or not self._restarts.spend():
                return code or 1
            _print(f"{self._container} ended with {code}; starting it again")

    def _run_once(self) -> int:
        engine = DockerEngine.connect()
        try:
            since, self._since = self._since or time.time(), None
            engine.start(self._container)
            threading.Thread(target=self._stop_when_asked, daemon=True).start()
            for piece in engine.lines(self._container, since):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            code = engine.wait(self._container)
            if self._asked.is_set():
                self._stop(engine)
            return code
        finally:
            engine.close()

    def _stop_when_asked(self) -> None:
        self._asked.wait()
        try:
            self._stop(DockerEngine.connect())
        except MobvibeError as error:
            _print(str(error))

    def _stop(self, engine: DockerEngine) -> None:
        engine.stop(self._container, self._stop_seconds)
        if self._is_disposable:
            engine.remove(self._container)

    def _wait_for_engine(self, error: EngineUnavailable) -> bool:
        """Wait for an engine that may be restarting; whether it came back."""
        _print(f"{error.message} Waiting for it.")
        deadline = time.monotonic() + _ENGINE_SECONDS
        while time.monotonic() < deadline and not self._asked.wait(_RETRY_SECONDS):
            try:
                DockerEngine.connect().close()
            except EngineUnavailable:
                continue
            return True
        return False


def _print(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str]) -> int:
    """Run the keeper with command line arguments; its exit code."""
    parser = argparse.ArgumentParser(prog="container_keeper")
    parser.add_argument("container")
    parser.add_argument("--stop-seconds", type=int, required=True)
    parser.add_argument("--disposable", action="store_true")
    parser.add_argument("--since", type=float)
    flags = parser.parse_args(arguments)
    keeper = Keeper(
        flags.container, flags.stop_seconds, is_disposable=flags.disposable, since=flags.since
    )
    try:
        return keeper.run()
    except MobvibeError as error:
        _print(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
