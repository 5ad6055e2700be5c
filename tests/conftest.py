"""What every test stands on: a scrubbed environment, and one real Postgres per run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.containers.engine import engine as engine
from support.containers.engine import engine_of_tests as engine_of_tests
from support.postgres.clusters import ClusterOfOurs, debian_15, running

_OURS = ("MOBVIBE_", "ANTHROPIC_", "PG")
_NAMES = ("DATABASE_URL", "DIRECT_URL", "DOCKER_HOST", "POLL_INTERVAL_MS", "MONITOR_INTERVAL_MS")


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, database or setting of the person who runs the tests reaches them."""
    for name in tuple(os.environ):
        is_ours = name.startswith(_OURS) and not name.startswith("MOBVIBE_TEST_")
        if is_ours or name in _NAMES:
            monkeypatch.delenv(name)
    # Whoever has Docker tests the same as who has none; tests of containers ask for the engine.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a real Postgres, without a database: `postgresql://user:password@host:port`.

    It is our own embedded one, in a home of its own, gone after the run; with MOBVIBE_TEST_POSTGRES=15 Debian's 15;
    or the one that MOBVIBE_TEST_DSN names.
    """
    given = os.environ.get("MOBVIBE_TEST_DSN")
    if given:
        yield given.rstrip("/")
        return
    if os.environ.get("MOBVIBE_TEST_POSTGRES") == "15":
        folder = tmp_path_factory.mktemp("postgres-15")
        async with running(ClusterOfOurs(debian_15(), folder, fsync="off")) as cluster:
            yield cluster.url()
        return
    home = Home(tmp_path_factory.mktemp("postgres"))
    async with await Supervisor.connect(home) as supervisor:
        fast = {"fsync": "off", "full_page_writes": "off"}
        postgres = EmbeddedPostgres(home, supervisor, settings=fast)
        address = await postgres.start(lambda status: None)
        yield address.dsn.rpartition("/")[0]
        await supervisor.shutdown()
