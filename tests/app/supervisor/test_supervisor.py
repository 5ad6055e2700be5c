"""The supervisor is started once for all clients, ends with the last one, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.place import socket_path
from mobvibe_app.supervisor.protocol import ServiceExit, ServiceSpec
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.processes.guarded import StopPolicy
from mobvibe_worker.processes.surroundings import allowed_environment
from support.polling import Programs, is_running, patient, until, until_gone

CLIENT = """
import asyncio, sys
from pathlib import Path
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.protocol import ServiceSpec
from mobvibe_worker.home import Home
from mobvibe_worker.processes.surroundings import allowed_environment
async def main():
    home = Home(Path(sys.argv[1]))
    supervisor = await Supervisor.connect(home)
    running = await supervisor.start(ServiceSpec(sys.argv[2], ("sleep", "600"), home.root, home.logs / "sleep.log",
                                                 allowed_environment()))
    print(supervisor.pid, running.pid, running.already, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    """A home. Its supervisor, if there is one, is shut down afterwards."""
    home = Home(tmp_path / "home")
    yield home
    supervisor = await Supervisor.attach(home)
    if supervisor is not None:
        async with supervisor:
            await supervisor.shutdown()


def sleeping(home: Home, name: str = "sleep", *script: str, **facts: int) -> ServiceSpec:
    return ServiceSpec(
        name,
        ("sh", "-c", *(script or ("exec sleep 600",))),
        cwd=home.root,
        log=home.logs / f"{name}.log",
        env=allowed_environment(),
        stop=StopPolicy(grace=0.3),
        facts=facts,
    )


async def client_process(
    programs: Programs, home: Home, name: str = "sleep"
) -> tuple[asyncio.subprocess.Process, list[str]]:
    process = await programs.start(
        *(sys.executable, "-c", CLIENT, str(home.root), name), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().split()


async def test_a_service_starts_once_and_its_facts_are_reported(home: Home) -> None:
    async with await Supervisor.connect(home) as one, await Supervisor.connect(home) as two:
        assert one.pid == two.pid
        first = await one.start(sleeping(home, port=8081))
        again = await two.start(sleeping(home, port=9999))
        assert (first.already, again.already) == (False, True)
        assert again.pid == first.pid and again.facts == {"port": 8081}
        status = await two.status()
        assert [service.name for service in status.services] == ["sleep"]
        assert (status.clients, status.is_held) == (2, False)
        pid = one.pid
        await one.close()
        assert is_running(first.pid)
    await until_gone([first.pid, pid])
    assert await Supervisor.attach(home) is None
    assert not socket_path(home).exists()


async def test_killing_the_last_client_ends_everything(programs: Programs, home: Home) -> None:
    clients = [await client_process(programs, home, name) for name in ("sleep", "other", "sleep")]
    supervisors, services = (
        {int(facts[0]) for _, facts in clients},
        {int(facts[1]) for _, facts in clients},
    )
    assert len(supervisors) == 1 and len(services) == 2
    everything = {*supervisors, *services, *(psutil.Process(pid).ppid() for pid in services)}
    for process, _ in clients[:2]:
        process.kill()
        await process.wait()
    async with await Supervisor.connect(home) as supervisor:
        assert {service.pid for service in (await supervisor.status()).services} == services
    assert all(map(is_running, everything))
    clients[2][0].kill()
    await clients[2][0].wait()
    await until_gone(everything)


async def test_killing_the_supervisor_ends_its_services_and_is_noticed(home: Home) -> None:
    async with await Supervisor.connect(home) as supervisor:
        exits = supervisor.exits()
        stubborn = "trap '' TERM; while :; do sleep 0.1; done"
        services = [await supervisor.start(sleeping(home, name, stubborn)) for name in ("a", "b")]
        os.kill(supervisor.pid, signal.SIGKILL)
        await asyncio.wait_for(supervisor.lost.wait(), patient(5))
        await until_gone(service.pid for service in services)
        assert [exit_ async for exit_ in exits] == []
        with pytest.raises(ServiceError, match="supervisor of the environment ended"):
            await supervisor.status()
    async with await Supervisor.connect(home) as another:
        assert another.pid != supervisor.pid
        assert (await another.status()).services == ()


async def test_eight_clients_at_once_share_one_supervisor(programs: Programs, home: Home) -> None:
    clients = await asyncio.gather(*(client_process(programs, home) for _ in range(8)))
    assert len({facts[0] for _, facts in clients}) == 1
    assert len({facts[1] for _, facts in clients}) == 1
    assert sorted(facts[2] for _, facts in clients) == ["False", *["True"] * 7]
    for process, _ in clients:
        process.kill()
        await process.wait()
    await until_gone([int(clients[0][1][0]), int(clients[0][1][1])])


async def test_a_client_that_connects_while_the_supervisor_ends_gets_a_new_one(home: Home) -> None:
    """A service that ignores SIGTERM delays the end of the old supervisor by half a second."""
    first = await Supervisor.connect(home)
    slow = await first.start(sleeping(home, "slow", "trap '' TERM; while :; do sleep 0.1; done"))
    await first.close()
    async with await Supervisor.connect(home) as second:
        assert not is_running(slow.pid)
        assert second.pid != first.pid
        await until_gone([first.pid])
        assert not (await second.start(sleeping(home, "slow"))).already


async def test_connecting_and_leaving_many_times_never_fails(home: Home) -> None:
    async def connect_and_leave() -> None:
        for _ in range(8):
            async with await Supervisor.connect(home) as supervisor:
                assert (await supervisor.start(sleeping(home))).pid > 0

    await asyncio.gather(*(connect_and_leave() for _ in range(4)))


async def test_services_stop_in_reverse_order(home: Home) -> None:
    async with await Supervisor.connect(home) as supervisor:
        for name in ("first", "second", "third"):
            script = f"trap 'echo {name} >> order; exit 0' TERM; touch {name}; while :; do sleep 0.02; done"
            await supervisor.start(sleeping(home, name, script))
            await until((home.root / name).exists)
        await supervisor.shutdown()
    assert (home.root / "order").read_text().split() == ["third", "second", "first"]


async def test_exits_are_reported_to_every_client(home: Home) -> None:
    async with await Supervisor.connect(home) as one, await Supervisor.connect(home) as two:
        exits = two.exits()
        await one.start(sleeping(home, "crash", "exit 7"))
        assert await asyncio.wait_for(anext(exits), patient(5)) == ServiceExit("crash", 7, False)
        again = await one.start(sleeping(home, "crash"))
        assert not again.already
        await one.stop("crash")
        assert await asyncio.wait_for(anext(exits), patient(5)) == ServiceExit("crash", 143, True)
        await one.stop("crash")


async def test_a_hold_outlives_the_clients_until_release(home: Home) -> None:
    async with await Supervisor.connect(home) as supervisor:
        running = await supervisor.start(sleeping(home))
        await supervisor.hold()
    attached = await Supervisor.attach(home)
    assert attached is not None and is_running(running.pid)
    async with attached:
        assert (await attached.status()).is_held
        await attached.release()
    await until_gone([running.pid, attached.pid])


async def test_a_service_that_cannot_start_is_reported(home: Home) -> None:
    async with await Supervisor.connect(home) as supervisor:
        spec = ServiceSpec("gone", ("/no/such",), home.root, home.logs / "gone.log", {})
        with pytest.raises(ServiceError, match="could not be started: No such file") as caught:
            await supervisor.start(spec)
        assert caught.value.remedy
        assert (await supervisor.status()).services == ()


async def test_invalid_data_on_the_socket_affects_no_other_client(home: Home) -> None:
    async with await Supervisor.connect(home) as supervisor:
        reader, writer = await asyncio.open_unix_connection(str(socket_path(home)))
        await reader.readline()
        writer.write(
            b'not json\n[]\n{"id": 1, "do": "fly"}\n{"id": 2, "do": "start", "spec": {}}\n'
        )
        answers = [await reader.readline() for _ in range(4)]
        assert all(b"was not understood" in answer for answer in answers)
        writer.write(b"x" * 2_000_000)
        with contextlib.suppress(ConnectionResetError):  # an end as good as a clean one
            assert await reader.read() == b""
        writer.close()
        assert (await supervisor.status()).clients == 1


async def test_the_socket_is_private_even_for_a_long_home(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long-" * 30) / "home")
    async with await Supervisor.connect(home) as supervisor:
        path = socket_path(home)
        assert len(os.fsencode(path)) <= 100 and not path.is_relative_to(home.root)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (await supervisor.status()).clients == 1
    await until_gone([supervisor.pid])


async def test_a_socket_folder_open_to_other_users_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"mobvibe-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"mobvibe-{os.getuid()}").chmod(0o777)
    with pytest.raises(ServiceError, match="is not a private folder of yours"):
        await Supervisor.connect(Home(tmp_path / ("long-" * 30) / "home"))


async def test_an_unwritable_home_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="cannot be written") as caught:
        await Supervisor.connect(Home(tmp_path / "file" / "home"))
    assert "--home" in caught.value.remedy


async def test_the_environment_of_a_service_is_in_no_command_line(home: Home) -> None:
    spec = sleeping(home)
    secret = "a-secret-of-the-test"
    async with await Supervisor.connect(home) as supervisor:
        await supervisor.start(
            ServiceSpec(spec.name, spec.argv, spec.cwd, spec.log, {**spec.env, "TOKEN": secret})
        )
        lines = [
            " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
        ]
        assert any("sleep 600" in line for line in lines)
        assert not any(secret in line for line in lines)
        assert secret not in "".join(file.read_text() for file in home.logs.iterdir())


async def test_the_supervisor_starts_fast_and_imports_only_the_standard_library(home: Home) -> None:
    started = time.monotonic()
    async with await Supervisor.connect(home) as supervisor:
        assert time.monotonic() - started < patient(2.0)
        maps = Path(f"/proc/{supervisor.pid}/maps")
        if maps.exists():
            assert "site-packages" not in maps.read_text()


async def test_a_stale_socket_file_is_replaced(home: Home) -> None:
    home.prepare()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(socket_path(home)))
    assert await Supervisor.attach(home) is None
    async with await Supervisor.connect(home) as supervisor:
        assert (await supervisor.status()).clients == 1
