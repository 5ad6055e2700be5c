"""Embedded Postgres is created once, shared by all clients, ends with the last one, and loses no committed row."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from mobvibe_app.postgres.cluster import Cluster
from mobvibe_app.postgres.embedded import EmbeddedPostgres
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import Home
from support.polling import Programs, is_running, patient, until, until_gone
from support.postgres.embedded import CLIENT, ask, client_process, servers_on, start


async def test_the_first_start_creates_a_private_server_with_the_right_settings(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home")
    reported: list[ServiceStatus] = []
    async with await Supervisor.connect(home) as supervisor:
        address = await EmbeddedPostgres(home, supervisor).start(reported.append)
        assert [status.state for status in reported] == ["starting", "starting", "healthy"]
        assert reported[-1].port == address.port == Choices(home.choices).ports()["postgres"]
        assert str(await ask(address, "show server_version")) == address.version
        assert await ask(address, "select current_database()") == "mobvibe"
        assert await ask(address, "show listen_addresses") == "127.0.0.1"
        assert await ask(address, "show unix_socket_directories") == ""
        assert await ask(address, "show max_connections") == "100"
        assert await ask(address, "select upper('žluť')") == "ŽLUŤ"
        assert await ask(address, "select rolpassword ~ '^SCRAM' from pg_authid where rolcanlogin")
        wrong = address.dsn.replace("mobvibe:", "mobvibe:x")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)
        pids = servers_on(home)
        assert len(pids) > 3
    await until_gone([*pids, supervisor.pid])
    assert not (home.postgres / "data" / "postmaster.pid").exists()


async def test_the_next_start_is_fast_and_keeps_the_port(home: Home) -> None:
    ports = set()
    for _ in range(2):
        started = time.monotonic()
        async with await Supervisor.connect(home) as supervisor:
            ports.add((await start(home, supervisor)).port)
            took = time.monotonic() - started
            assert took < patient(3.0)  # 0.2 s on an idle machine
        await until_gone([supervisor.pid])
    assert len(ports) == 1


async def test_killing_every_client_loses_no_row_and_leaves_no_process(
    programs: Programs, home: Home
) -> None:
    clients = [
        await client_process(programs, home, query)
        for query in (
            "create table kept(n int); insert into kept values (41)",
            "insert into kept values (1)",
        )
    ]
    assert clients[0][1] == clients[1][1]
    pids = {clients[0][1][0], *servers_on(home)}
    for process, _ in clients:
        process.kill()
        await process.wait()
    await until_gone(pids)
    assert servers_on(home) == set()
    async with await Supervisor.connect(home) as supervisor:
        assert await ask(await start(home, supervisor), "select sum(n) from kept") == 42


async def test_killing_the_supervisor_and_the_server_loses_no_row(home: Home) -> None:
    async with await Supervisor.connect(home) as supervisor:
        address = await start(home, supervisor)
        connection = await asyncpg.connect(address.dsn)
        await connection.execute("create table kept as select 42 as n")
        running = await supervisor.running("postgres")
        assert running is not None
        pids = servers_on(home)
        os.kill(supervisor.pid, 9)
        os.kill(running.pid, 9)
        await supervisor.lost.wait()
        connection.terminate()
    async with await Supervisor.connect(home) as another:
        assert await ask(await start(home, another), "select n from kept") == 42
        assert not any(map(is_running, pids))


async def test_a_busy_connection_does_not_keep_the_server_running(
    programs: Programs, home: Home
) -> None:
    """The fast shutdown ends a backend in the middle of a statement."""
    process, (supervisor, server, _) = await client_process(programs, home, "select 1")
    async with await Supervisor.connect(home) as handle:
        address = await start(home, handle)
        connection = await asyncpg.connect(address.dsn)
        sleeping = asyncio.create_task(connection.fetchval("select pg_sleep(600)"))
        await until(lambda: any("SELECT" in (line or "") for line in titles(home)))
    process.kill()
    await process.wait()
    await until_gone([supervisor, server])
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await sleeping
    connection.terminate()


def titles(home: Home) -> list[str]:
    return [" ".join(psutil.Process(pid).cmdline()) for pid in servers_on(home)]


async def test_eight_clients_at_once_create_one_cluster(programs: Programs, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    clients = await asyncio.gather(*(client_process(programs, home, "select 1") for _ in range(8)))
    assert len({tuple(facts) for _, facts in clients}) == 1
    pids = {*clients[0][1][:2], *servers_on(home)}
    for process, _ in clients:
        process.kill()
        await process.wait()
    await until_gone(pids)


async def test_an_incomplete_cluster_is_replaced(programs: Programs, tmp_path: Path) -> None:
    """If the client is killed during initdb, the guard ends initdb and the next start creates a new cluster."""
    home = Home(tmp_path / "home")
    process = await programs.start(sys.executable, "-c", CLIENT, str(home.root), "select 1")
    await until(lambda: bool(list(home.postgres.glob("data.partial*/PG_VERSION"))))
    process.kill()
    await process.wait()
    assert partials_of(home) and not (home.postgres / "data").exists()
    async with await Supervisor.connect(home) as supervisor:
        assert await ask(await start(home, supervisor), "select 1") == 1
    assert not partials_of(home)


def partials_of(home: Home) -> list[Path]:
    return list(home.postgres.glob("data.partial*"))


async def test_a_postmaster_pid_of_another_program_is_ignored(
    programs: Programs, home: Home
) -> None:
    """After a reboot the pid in postmaster.pid may belong to any program, which must not be killed."""
    other = await programs.start("sleep", "600")
    pid_file = home.postgres / "data" / "postmaster.pid"
    pid_file.write_text(f"{other.pid}\n{pid_file.parent}\n1\n5432\n\n127.0.0.1\n  1 2\nready\n")
    async with await Supervisor.connect(home) as supervisor:
        assert await ask(await start(home, supervisor), "select 1") == 1
    assert other.returncode is None
    other.kill()
    await other.wait()


async def test_a_start_waits_for_a_server_that_was_started_by_hand(
    programs: Programs, home: Home
) -> None:
    """Once that server ends, ours starts on the same cluster."""
    cluster = Cluster(home)
    by_hand = await programs.start(
        *(*cluster.program("postgres"), "-D", str(cluster.data), "-c", "listen_addresses="),
        *("-c", f"unix_socket_directories={home.run}"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    await until(lambda: (found := cluster.pid_file()) is not None and found.is_ready)
    async with await Supervisor.connect(home) as supervisor:
        starting = asyncio.create_task(start(home, supervisor))
        await asyncio.sleep(0.3)
        assert not starting.done()
        by_hand.send_signal(2)
        await by_hand.wait()
        assert await ask(await starting, "select 1") == 1


async def test_the_password_is_private_and_in_no_command_line_or_log(home: Home) -> None:
    file = home.secrets / "postgres-password"
    password = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(password) >= 40
    async with await Supervisor.connect(home) as supervisor:
        address = await start(home, supervisor)
        assert password in address.dsn and password not in repr(address)
        lines = [
            " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
        ]
        assert any(str(home.postgres / "data") in line for line in lines)
        assert not any(password in line for line in lines)
    for log in home.logs.iterdir():
        assert password not in log.read_text()
