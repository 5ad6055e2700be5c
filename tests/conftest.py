"""Gives every test a clean environment, one real Postgres per process, and scaled time limits.

With `-n 2` the tests run in two processes (pytest-xdist). Tests that need the container engine form a group that one
process runs in order, and so do those that keep npm and Metro busy (support/groups.py).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.containers.engine import engine as engine
from support.containers.engine import shared_engine as shared_engine
from support.polling import patient
from support.postgres.clusters import OwnCluster, debian_15, running

_OURS = ("MOBVIBE_", "ANTHROPIC_", "PG")
_NAMES = ("DATABASE_URL", "DIRECT_URL", "DOCKER_HOST", "POLL_INTERVAL_MS", "MONITOR_INTERVAL_MS")


_SERVERS = {"server_15", "server_18", "server_neon", "kind", "made_home"}
"""Fixtures that start a separate server. Tests that use one get the marker `servers`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, scale their time limits, and mark those that are long or start servers."""
    # Longest first, so that no process waits for the other at the end.
    items.sort(key=lambda item: -_time_limit(item, config))
    for item in items:
        seconds = _time_limit(item, config)
        item.add_marker(pytest.mark.timeout(patient(seconds)), append=False)
        if seconds > float(config.getini("timeout")):
            item.add_marker("long")
        if _uses_server(item):
            item.add_marker("servers")


def _time_limit(item: pytest.Item, config: pytest.Config) -> float:
    own = item.get_closest_marker("timeout")
    return float(own.args[0] if own else config.getini("timeout"))


def _uses_server(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and not _SERVERS.isdisjoint(item.fixturenames)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep each group of tests in one process."""
    from support.groups import GroupedScheduling

    return GroupedScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make captured text encodable, because some tests log half a character, which xdist cannot transfer."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the keys, databases and settings of the person who runs the tests."""
    for name in tuple(os.environ):
        is_ours = name.startswith(_OURS) and not name.startswith("MOBVIBE_TEST_")
        if is_ours or name in _NAMES:
            monkeypatch.delenv(name)
    # Tests run the same with and without Docker; only tests of containers use the engine.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a real Postgres, without a database: `postgresql://user:password@host:port`.

    The default is the embedded Postgres in a temporary home. MOBVIBE_TEST_POSTGRES=15 selects Debian's Postgres 15, and
    MOBVIBE_TEST_DSN the server at that URL. Each process of a parallel run has a separate one.
    """
    given = os.environ.get("MOBVIBE_TEST_DSN")
    if given:
        yield given.rstrip("/")
        return
    if os.environ.get("MOBVIBE_TEST_POSTGRES") == "15":
        folder = tmp_path_factory.mktemp("postgres-15")
        async with running(OwnCluster(debian_15(), folder, fsync="off")) as cluster:
            yield cluster.url()
        return
    home = Home(tmp_path_factory.mktemp("postgres"))
    async with await Supervisor.connect(home) as supervisor:
        fast = {"fsync": "off", "full_page_writes": "off"}
        postgres = EmbeddedPostgres(home, supervisor, settings=fast)
        address = await postgres.start(lambda status: None)
        yield address.dsn.rpartition("/")[0]
        await supervisor.shutdown()
