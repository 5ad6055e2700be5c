"""A service with a port tries the next one only if it ended because the port was taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ported import PortedService, WantedPort
from mobvibe_app.supervisor.protocol import RunningService, ServiceSpec
from mobvibe_app.supervisor.service_log import ServiceLog
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.surroundings import allowed_environment
from support.polling import patient

NAME = "talker"
WORDS = "the port is taken"


class Talker:
    """A service that runs this script and is never ready."""

    def __init__(self, home: Home, supervisor: Supervisor, script: str, seconds: float) -> None:
        self.ports: list[int] = []
        self._home, self._supervisor, self._script = home, supervisor, script
        self._log = ServiceLog(home.logs / f"{NAME}.log")
        self.service = PortedService(
            supervisor=supervisor,
            name=NAME,
            log=self._log,
            port=WantedPort(
                choices=Choices(home.choices),
                key=NAME,
                title="the talker",
                lowest=28081,
                fixed=None,
                address="127.0.0.1",
            ),
            launch=self._launch,
            is_ready=self._is_ready,
            is_port_taken=lambda printed: WORDS in printed,
            failure=lambda how, printed: ServiceError(f"The talker {how}: {printed.strip()}"),
            ready_seconds=seconds,
            is_stopped_when_late=True,
        )

    async def _launch(self, port: int, _: int) -> RunningService:
        self.ports.append(port)
        spec = ServiceSpec(
            NAME,
            ("sh", "-c", self._script),
            cwd=self._home.root,
            log=self._log.path,
            env=allowed_environment(),
            facts={"port": port},
        )
        return await self._supervisor.start(spec)

    async def _is_ready(self, running: RunningService, _: int) -> bool:
        return False


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


@pytest.fixture
async def supervisor(home: Home) -> AsyncIterator[Supervisor]:
    async with await Supervisor.connect(home) as supervisor:
        yield supervisor
        await supervisor.shutdown()


async def test_a_service_that_ends_because_its_port_is_taken_tries_the_next_ones(
    home: Home, supervisor: Supervisor
) -> None:
    talker = Talker(home, supervisor, f"echo {WORDS}", patient(60))
    with pytest.raises(ServiceError, match="No free port was found for the talker"):
        await talker.service.start()
    assert len(set(talker.ports)) == len(talker.ports) > 1


async def test_a_service_that_prints_the_same_words_but_is_only_late_starts_once(
    home: Home, supervisor: Supervisor
) -> None:
    talker = Talker(home, supervisor, f"echo {WORDS}; exec sleep 600", patient(3))
    with pytest.raises(ServiceError, match=f"The talker does not become ready: {WORDS}"):
        await talker.service.start()
    assert len(talker.ports) == 1
    assert await supervisor.running(NAME) is None
