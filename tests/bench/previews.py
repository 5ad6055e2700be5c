"""Measures previews and checks in containers and prints a Markdown table. Takes about 20 minutes.

Run it with `make bench` or alone. It uses a running engine (or else, on Debian as root, starts one), real images,
Metro, and npm with its current cache. The phone is a script that talks like Expo Go. Expo SDK 54.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mobvibe_app.checks.container import CheckImage
from mobvibe_app.checks.sandbox import CheckSandbox
from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import EngineUnavailable
from mobvibe_app.containers.spec import ContainerSpec
from mobvibe_app.preview.network import lan_address
from mobvibe_app.preview.providers.container import ContainerPreview
from mobvibe_app.preview.providers.expo_image import ExpoImage
from mobvibe_app.preview.providers.local import PreviewService, Serving
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.home import SdkFolder
from mobvibe_worker.processes.guarded import GuardedProcess
from mobvibe_worker.toolchain.check_bundler import CheckBundler
from mobvibe_worker.toolchain.checks import ProjectChecker
from mobvibe_worker.toolchain.metro import MetroClient, metro_environment
from mobvibe_worker.toolchain.npm import run_npm
from mobvibe_worker.toolchain.sandbox import Sandbox, StagedCommands
from mobvibe_worker.toolchain.starter import Starter
from mobvibe_worker.workspace.publish import ServedFolder
from mobvibe_worker.workspace.tree import write_tree
from support.cache import cache_folder
from support.containers.engine import BASE_IMAGE, OwnEngine, ensure_images
from support.expo import ExpoSdk, make_home
from support.phone import Phone
from support.polling import until

EDITS = 30
CHECK_ROUNDS = 3


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rounds", type=int, default=5)
    rounds = flags.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="mobvibe-bench-") as scratch, an_engine() as engine:
        home = make_home(Path(scratch) / "home", 54)
        bench = Bench(ExpoSdk(home, 54), engine, rounds, Path(scratch))
        print("| what | seconds |\n|---|---|")
        asyncio.run(bench.measure())


@contextmanager
def an_engine() -> Iterator[DockerEngine]:
    """A running engine, or else our own, with the tests' substitutes for the official images."""
    own: OwnEngine | None = None
    if named := os.environ.get("MOBVIBE_TEST_DOCKER_HOST"):
        os.environ["DOCKER_HOST"] = named
    try:
        engine = DockerEngine.connect()
    except EngineUnavailable:
        own = OwnEngine(cache_folder() / "docker")
        os.environ["DOCKER_HOST"] = own.address
        own.start()
        engine = DockerEngine.connect()
    try:
        ensure_images(engine)
        yield engine
    finally:
        engine.close()
        if own is not None:
            own.stop()
            own.remove()


_UNWATCHED = """
import Module from 'node:module';
const load = Module._load;
Module._load = function (request, ...rest) {
  const exported = load.call(this, request, ...rest);
  if (request.endsWith('/FallbackWatcher')) exported.default.prototype.startWatching = async () => {};
  return exported;
};
"""


class Unwatched(ContainerPreview):
    """The lower limit: the same container without file watching. (CI=1 would also lose the warm cache.)"""

    def container(self, serving: Serving) -> ContainerSpec:
        """The usual container, with Metro's watchers switched off."""
        made = super().container(serving)
        code = base64.b64encode(_UNWATCHED.encode()).decode()
        cli = next(n for n, word in enumerate(made.command) if word.endswith("/expo/bin/cli"))
        preload = ("--import", f"data:text/javascript;base64,{code}")
        return replace(made, command=(*made.command[:cli], *preload, *made.command[cli:]))


class Bench:
    """One run on one engine. Its images and containers are removed at the end."""

    def __init__(self, expo: ExpoSdk, engine: DockerEngine, rounds: int, scratch: Path) -> None:
        self.expo = expo
        self.engine = engine
        self.rounds = rounds
        self.scratch = scratch
        self.host = lan_address()
        self.home_id = secrets.token_hex(4)

    async def measure(self) -> None:
        """Measure all rows, and print each as soon as it is known."""
        try:
            tag = await self.images()
            async with await Supervisor.connect(self.expo.home) as supervisor:
                await self.previews(supervisor, tag)
                await supervisor.shutdown()
            await self.checks(tag)
        finally:
            await asyncio.to_thread(self.engine.remove_labelled, self.home_id)

    async def images(self) -> str:
        """Measure image builds, from the first step and for other homes with cached layers. Returns the image's tag."""
        row("image build, from its first step", [await seconds(self._build(self.home_id, True))])
        later = []
        for _ in range(self.rounds):
            other = secrets.token_hex(4)
            later.append(await seconds(self._build(other, False)))
            await asyncio.to_thread(self.engine.remove_labelled, other)
        row("image build for another home, layers cached", later)
        return await self._build(self.home_id, False)

    async def _build(self, home_id: str, is_fresh: bool) -> str:
        certificates = os.environ.get("NODE_EXTRA_CA_CERTS")
        image = ExpoImage(
            self.engine,
            home_id,
            self.expo.sdk,
            self.expo.starter.files("Warm-up", "warm-up"),
            base=BASE_IMAGE,
            ca_bundle=Path(certificates) if certificates else None,
        )
        return await image.ensure(lambda status: None, is_fresh=is_fresh)

    async def previews(self, supervisor: Supervisor, tag: str) -> None:
        """Measure new projects made by hand and by us, restarts, the lower limit, hot reloads and memory."""

        def service(kind: type[ContainerPreview]) -> ContainerPreview:
            return kind(
                self.expo.home,
                supervisor,
                self.expo.sdk,
                self.engine,
                home_id=self.home_id,
                image=tag,
            )

        watched, unwatched = service(ContainerPreview), service(Unwatched)
        by_hand, new, again, floor = [], [], [], []
        # Alternate, so that other load on the machine affects all kinds alike.
        for n in range(self.rounds):
            by_hand.append(await seconds(self._by_hand(n)))
            new.append(await self.first_bundle(watched, f"new-{n}"))
            await watched.stop(f"new-{n}")
            again.append(await self.first_bundle(watched, f"new-{n}"))
            await watched.stop(f"new-{n}")
            floor.append(await self.first_bundle(unwatched, f"floor-{n}"))
            await unwatched.stop(f"floor-{n}")
        row("by hand: npm install + expo start + first iOS bundle", by_hand)
        row("new project to first iOS bundle, warm image", new)
        row("stopped preview to first iOS bundle", again)
        row("lower limit: a new project without file watching", floor)
        middle = statistics.median(new)
        print_row("by hand / new project", f"{statistics.median(by_hand) / middle:.1f}")
        print_row("new project / lower limit", f"{middle / statistics.median(floor):.2f}")
        await self.hot_reload("new-0", watched)
        usage = await watched.usage("new-0")
        assert usage is not None
        print_row("memory of one edited preview (MB)", f"{usage.memory_bytes / 1e6:.0f}")
        await watched.stop("new-0")

    async def first_bundle(self, previews: PreviewService, slug: str) -> float:
        """Publish a project's files, then measure from the request for its preview to the phone's whole bundle."""
        folder = self.expo.folder.served(slug)
        if not folder.exists():
            ServedFolder(folder).publish(dict(self.expo.starter.files(slug, slug)))
        started = time.monotonic()
        served = await previews.start(slug, address=self.host)
        assert len(await Phone(f"exp://{self.host}:{served.port}").bundle()) > 500_000
        return time.monotonic() - started

    async def hot_reload(self, slug: str, previews: PreviewService) -> None:
        """Measure from writing a file on this machine to the phone's update that contains the edit."""
        await self.first_bundle(previews, slug)
        served = await previews.start(slug, address=self.host)
        app = self.expo.folder.served(slug) / "App.tsx"
        text = app.read_text()
        took = []
        async with Phone(f"exp://{self.host}:{served.port}") as phone:
            for n in range(EDITS):
                mark = f"Edit number {n} {secrets.token_hex(4)}"
                started = time.monotonic()
                app.write_text(text.replace("Open up App.tsx", mark))
                await until(partial(_carries, phone, mark), 20, f"the phone sees {mark}")
                took.append(time.monotonic() - started)
                phone.updates.clear()
        row(f"hot reload of an edit ({EDITS} edits)", took)

    async def checks(self, tag: str) -> None:
        """Measure a job's first and second check, sandboxed and as local processes in turn."""

        async def image_for(starter: Starter) -> CheckImage:
            return CheckImage(self.engine, self.home_id, tag)

        kinds: dict[str, Sandbox | None] = {
            "in a container": CheckSandbox(image_for, is_required=True),
            "as processes": None,
        }
        first: dict[str, list[float]] = {kind: [] for kind in kinds}
        later: dict[str, list[float]] = {kind: [] for kind in kinds}
        for n in range(min(CHECK_ROUNDS, self.rounds)):
            for kind, sandbox in kinds.items():
                a, b = await self._check(f"check-{kind.split()[-1]}-{n}", sandbox)
                first[kind].append(a)
                later[kind].append(b)
        for kind in kinds:
            row(f"first check of a job, {kind}", first[kind])
            row(f"later check of the same job, {kind}", later[kind])

    async def _check(self, name: str, sandbox: Sandbox | None) -> tuple[float, float]:
        root = self.expo.stage(name)
        async with (
            StagedCommands(root, self.expo.starter, sandbox) as commands,
            CheckBundler(root, commands) as bundler,
        ):
            checker = ProjectChecker(
                root, self.expo.folder, self.expo.sdk, commands, bundler, lambda event: None
            )
            took = []
            for turn in range(2):
                app = root / "App.tsx"
                app.write_text(f"{app.read_text()}\nexport const turn{turn} = {turn};\n")
                started = time.monotonic()
                report = await checker.check()
                took.append(time.monotonic() - started)
                assert report.is_green and report.is_sandboxed is (sandbox is not None)
        return took[0], took[1]

    async def _by_hand(self, n: int) -> None:
        """Do what a person would do with the template: npm install, expo start, open it on the phone."""
        folder = SdkFolder(self.scratch / f"by-hand-{n}")
        for place in (folder.root, folder.cache, folder.node_home):
            place.mkdir()
        write_tree(self.expo.starter.files("By hand", "by-hand"), folder.root)
        node = self.expo.node
        await run_npm(node, ("install",), cwd=folder.root, time_limit=900)
        port = await _free_port()
        cli = folder.modules / "expo/bin/cli"
        metro = await GuardedProcess.start(
            (node.executable, cli, "start", "--lan", "--port", str(port)),
            cwd=folder.root,
            env=metro_environment(node, folder),
        )
        async with metro, MetroClient(port) as client:
            while not await client.is_running():
                assert metro.exit_code is None
                await asyncio.sleep(0.05)
            assert len(await Phone(f"exp://127.0.0.1:{port}").bundle()) > 500_000


def _carries(phone: Phone, mark: str) -> bool:
    return any(mark in json.dumps(update) for update in phone.updates)


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port


async def seconds(work: Awaitable[object]) -> float:
    """Await the work and return how long it took."""
    started = time.monotonic()
    await work
    return time.monotonic() - started


def row(name: str, values: list[float]) -> None:
    """Print the median of the values, and their range if there are several."""
    middle = f"{statistics.median(values):.2f}"
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    print_row(name, middle + spread)


def print_row(name: str, value: str) -> None:
    """Print one row of the table."""
    print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
