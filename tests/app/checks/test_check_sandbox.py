"""Checks in a container of a real engine: what they find, what they cannot reach, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator

import docker
import pytest

from mobvibe_app.checks.container import CheckImage, ContainerCommands
from mobvibe_app.checks.sandbox import CheckSandbox
from mobvibe_app.containers.engine import DockerEngine
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.events import Payload, Terminal
from mobvibe_worker.revisions import CheckReport
from mobvibe_worker.toolchain.check_bundler import CheckBundler
from mobvibe_worker.toolchain.checks import ProjectChecker
from mobvibe_worker.toolchain.sandbox import StagedCommands
from mobvibe_worker.toolchain.starter import Starter
from mobvibe_worker.toolchain.type_check import check_types
from support.containers.engine import SharedEngine
from support.containers.expo_images import cached_image
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.polling import patient, until

pytestmark = [pytest.mark.docker, pytest.mark.expo, pytest.mark.timeout(900)]


@pytest.fixture
async def image(engine: DockerEngine, expo_sdk: ExpoSdk) -> AsyncIterator[CheckImage]:
    """The Expo image for a new home. The test fails if a container of that home is left."""
    tag = await cached_image(engine, expo_sdk)
    home_id = secrets.token_hex(4)
    yield CheckImage(engine, home_id, tag)
    left = engine.labelled(home_id)
    assert left == (), "a check container was left behind"


def sandbox_of(image: CheckImage, *, is_required: bool = True) -> CheckSandbox:
    """A sandbox that uses this image."""

    async def image_for(starter: Starter) -> CheckImage:
        return image

    return CheckSandbox(image_for, is_required=is_required)


async def test_sandboxed_checks_find_the_same_and_are_reported_as_sandboxed(
    image: CheckImage, expo_sdk: ExpoSdk
) -> None:
    root = expo_sdk.stage("sandboxed")
    app = (root / "App.tsx").read_text()
    events: list[Payload] = []
    async with (
        StagedCommands(root, expo_sdk.starter, sandbox_of(image)) as commands,
        CheckBundler(root, commands) as bundler,
    ):
        checker = ProjectChecker(
            root, expo_sdk.folder, expo_sdk.sdk, commands, bundler, events.append
        )

        async def checked(text: str) -> CheckReport:
            (root / "App.tsx").write_text(text)
            return await checker.check()

        report = await checked(app)
        assert report.is_green, report.problems
        assert report.is_sandboxed is True and report.to_data()["sandboxed"] is True
        reported = [event.command for event in events if isinstance(event, Terminal)]
        assert (
            "check types (sandboxed)" in reported and "bundle for Android (sandboxed)" in reported
        )

        report = await checked(f"{app}\nconst n: number = 'x'; console.log(n);\n")
        assert str(report.problems[0]).startswith("App.tsx:22:7: TS2322")
        assert [check.is_green for check in report.checks] == [False, True, True, True]

        report = await checked(f"import './nope';\n{app}")
        ios = next(check for check in report.checks if check.name == "ios")
        assert str(ios.problems[0]) == "App.tsx:1:9: Unable to resolve './nope': no such file."
        assert "/srv" not in str(report.to_data())

        # Metro started before this folder existed.
        (root / "deep").mkdir()
        (root / "deep" / "part.ts").write_text("export const a = 1;\n")
        report = await checked(f"import {{ a }} from './deep/part';\nconsole.log(a);\n{app}")
        assert report.is_green, report.problems


async def test_a_sandbox_reaches_no_network_no_home_and_no_secret(
    image: CheckImage, expo_sdk: ExpoSdk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:very-secret@127.0.0.1/app")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-very-secret")
    root = expo_sdk.stage("sandbox-limits")
    (expo_sdk.home.secrets / "postgres").write_text("very-secret")
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    places = (expo_sdk.home.secrets, expo_sdk.folder.starter, "/var/run/docker.sock")
    hidden = ", ".join(repr(str(place)) for place in places)
    script = f"""
        const fs = require('node:fs'), net = require('node:net'), os = require('node:os');
        const tried = async (host, port) => new Promise((done) => {{
          const socket = net.connect(port, host, () => done('reached'));
          socket.on('error', (error) => done(error.code)); setTimeout(() => done('silent'), 3000).unref();
        }});
        const wrote = (path) => {{ try {{ fs.writeFileSync(path, 'x'); return true; }} catch {{ return false; }} }};
        const seen = (path) => fs.existsSync(path);
        (async () => console.log(JSON.stringify({{
          network: [await tried('127.0.0.1', {port}), await tried('172.17.0.1', {port}),
                    await tried('198.51.100.1', 80)],
          addresses: Object.keys(os.networkInterfaces()),
          home: [{hidden}].filter(seen),
          written: ['/srv/app/x', '/srv/node_modules/x', '/etc/x', '/srv/cache/x'].filter(wrote),
          environment: JSON.stringify(process.env) + fs.readFileSync('/proc/1/environ'),
          status: fs.readFileSync('/proc/self/status', 'utf8'), user: process.getuid(),
        }})))();
    """
    commands = ContainerCommands(image, root)
    try:
        finished = await commands.run(("node", "-e", script), time_limit=patient(30))
        with contextlib.closing(docker.from_env()) as client:
            (found,) = image.engine.labelled(image.home_id)
            host = client.containers.get(found.name).attrs["HostConfig"]
    finally:
        await commands.close()
        server.close()
    assert finished.exit_code == 0, finished.output
    result = json.loads(finished.output)
    assert "reached" not in result["network"] and result["addresses"] == ["lo"]
    assert result["home"] == [] and result["written"] == []
    assert not any(
        word in result["environment"] for word in ("very-secret", "DATABASE_URL", "ANTHROPIC")
    )
    assert result["user"] != 0
    assert "CapEff:\t0000000000000000" in result["status"] and "NoNewPrivs:\t1" in result["status"]
    assert host["NetworkMode"] == "none" and host["CapDrop"] == ["ALL"] and host["ReadonlyRootfs"]
    assert host["PidsLimit"] and host["Memory"] and host["NanoCpus"]
    assert host["LogConfig"]["Type"] == "none"


async def test_a_cancelled_or_late_command_leaves_no_process(
    image: CheckImage, expo_sdk: ExpoSdk
) -> None:
    root = expo_sdk.stage("cancelled")
    commands = ContainerCommands(image, root)
    endless = asyncio.create_task(
        commands.run(("node", "-e", "setInterval(() => 0, 1000)"), time_limit=600)
    )
    await until(lambda: bool(_nodes(image)), 20, "the command runs")
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    assert _nodes(image) == [], "the command must end although its container still runs"
    late = await commands.run(("node", "-e", "setInterval(() => 0, 1000)"), time_limit=0.3)
    assert late.timed_out and _nodes(image) == []
    await commands.close()
    assert image.engine.labelled(image.home_id) == ()


async def test_a_command_cancelled_while_it_starts_leaves_no_process(
    image: CheckImage, expo_sdk: ExpoSdk
) -> None:
    commands = ContainerCommands(image, expo_sdk.stage("starting"))
    await commands.open()
    starting = asyncio.create_task(
        commands.run(("node", "-e", "setInterval(() => 0, 1000)"), time_limit=600)
    )
    # One turn for the command, one for its frame: then a thread has the frame, and nobody knows yet that it was sent.
    for _ in range(3):
        await asyncio.sleep(0)
    _wait_for_node(image)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert _nodes(image) == []
    assert (await commands.run(("node", "-e", ""), time_limit=patient(30))).exit_code == 0
    await commands.close()


async def test_hostile_commands_are_ended_from_outside(
    image: CheckImage, expo_sdk: ExpoSdk
) -> None:
    root = expo_sdk.stage("stopped")
    commands = ContainerCommands(image, root)
    hostile = "process.kill(process.ppid, 'SIGSTOP'); setInterval(() => 0, 1000)"
    with pytest.raises(ServiceError, match="The container of the checks has ended"):
        await commands.run(("node", "-e", hostile), time_limit=patient(5))
    forged = (
        "const fs = require('node:fs'); fs.writeSync(fs.openSync('/proc/1/fd/1', 'w'), 'no frame')"
    )
    flood = "for (;;) process.stdout.write('x'.repeat(1e6))"
    with pytest.raises(ServiceError, match="The container of the checks has ended"):
        await commands.run(("node", "-e", forged), time_limit=patient(20))
    # Not scaled: the flood fills its memory meanwhile.
    flooded = await commands.run(("node", "-e", flood), time_limit=2)
    assert flooded.timed_out and len(flooded.output) < 2_000_000
    fine = await commands.run(("node", "-e", "console.log('fine')"), time_limit=patient(30))
    assert fine.exit_code == 0
    await commands.close()


def _nodes(image: CheckImage) -> list[str]:
    """The endless commands that run in the home's containers."""
    search = "grep -l 'setInterval[(][(][)]' /proc/[0-9]*/cmdline 2>/dev/null"
    with contextlib.closing(docker.from_env()) as client:
        found = [client.containers.get(one.name) for one in image.engine.labelled(image.home_id)]
        running = [each for each in found if each.status == "running"]
        outputs = [each.exec_run(["sh", "-c", search]).output.decode() for each in running]
    return [line for output in outputs for line in output.splitlines()]


def _wait_for_node(image: CheckImage) -> None:
    """Wait until the endless command runs. It blocks the event loop, so that no task can notice it."""
    while not _nodes(image):
        time.sleep(0.05)


async def test_a_killed_container_is_replaced(image: CheckImage, expo_sdk: ExpoSdk) -> None:
    root = expo_sdk.stage("hit")
    async with (
        StagedCommands(root, expo_sdk.starter, sandbox_of(image)) as commands,
        CheckBundler(root, commands) as bundler,
    ):
        assert (await bundler.compile("android")).is_green
        (first,) = image.engine.labelled(image.home_id)
        with contextlib.closing(docker.from_env()) as client:
            client.containers.get(first.name).kill()
        assert (await bundler.compile("android")).is_green
        await until(
            lambda: image.engine.find(first.name) is None, 10, "the first container is gone"
        )
        (second,) = image.engine.labelled(image.home_id)
        assert second.name != first.name


async def test_checks_survive_a_restart_of_the_engine(
    image: CheckImage, expo_sdk: ExpoSdk, shared_engine: SharedEngine
) -> None:
    if shared_engine.own is None:
        pytest.skip("needs a Docker daemon of our own, to restart it")
    root = expo_sdk.stage("restarted")
    async with StagedCommands(root, expo_sdk.starter, sandbox_of(image)) as commands:
        runner = await commands.runner()
        checking = asyncio.create_task(check_types(runner))
        await until(lambda: bool(image.engine.labelled(image.home_id)), 20, "a container exists")
        await asyncio.to_thread(shared_engine.own.stop)
        await asyncio.to_thread(shared_engine.own.start)
        assert (await checking).is_green


_HOLDER = """
import asyncio, sys
from pathlib import Path
from mobvibe_app.checks.container import CheckImage, ContainerCommands
from mobvibe_app.containers.engine import DockerEngine

async def hold():
    image = CheckImage(DockerEngine.connect(), sys.argv[1], sys.argv[2])
    await ContainerCommands(image, Path(sys.argv[3])).open()
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


async def test_a_killed_worker_leaves_no_container(image: CheckImage, expo_sdk: ExpoSdk) -> None:
    root = expo_sdk.stage("killed-holder")
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLDER, image.home_id, image.tag, str(root)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    assert [found.is_running for found in image.engine.labelled(image.home_id)] == [True]
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    await until(lambda: image.engine.labelled(image.home_id) == (), 20, "the container is gone")


async def test_checks_without_a_sandbox_log_a_warning_or_are_refused(
    engine: DockerEngine, expo_sdk: ExpoSdk, caplog: pytest.LogCaptureFixture
) -> None:
    missing = CheckImage(engine, secrets.token_hex(4), "mobvibe-no-such-image:1")
    root = expo_sdk.stage("unsandboxed")
    started = time.monotonic()
    async with StagedCommands(
        root, expo_sdk.starter, sandbox_of(missing, is_required=False)
    ) as commands:
        assert (await commands.runner()).is_sandboxed is False
    assert "the checks run unsandboxed" in caplog.text
    async with StagedCommands(root, expo_sdk.starter, sandbox_of(missing)) as commands:
        with pytest.raises(ServiceError, match="mobvibe-no-such-image"):
            await commands.runner()
    assert time.monotonic() - started < patient(30) and engine.labelled(missing.home_id) == ()
