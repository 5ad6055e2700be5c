"""Each fault of an engine is a status that says what to do next, and the service recovers once the fault is over."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import docker
import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import (
    EngineUnavailable,
    FolderUnseen,
    ImageMissing,
)
from mobvibe_app.containers.images import tar_of
from mobvibe_app.containers.spec import ContainerSpec, Mount
from mobvibe_app.settings import AppSettings
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.ports import pick_port
from mobvibe_app.wiring import build_environment
from mobvibe_worker.errors import DiskFull, ServiceError
from mobvibe_worker.home import Home
from support.containers.containers import stored_number
from support.containers.engine import POSTGRES_IMAGE, OwnEngine
from support.containers.image_registry import ImageRegistry
from support.containers.image_registry import image_registry as image_registry
from support.polling import patient

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

_LAYERS = (40_000_000, 20_000_000)
_BRIDGE = "mobvibe-tests0"
_NO_NETWORK = ("--iptables=false", "--ip-forward=false", "--ip-masq=false", f"--bridge={_BRIDGE}")


class Postgres:
    """A home whose Postgres runs in a container of `image`. `remove` deletes everything of it."""

    def __init__(self, root: Path, image: str, mode: str = "docker") -> None:
        self.home = Home(root)
        self.reported: list[ServiceStatus] = []
        settings = {"home": root, "postgres": mode, "postgres_image": image}
        self.environment = build_environment(
            AppSettings.model_validate(settings), self.reported.append
        )

    @property
    def container(self) -> str:
        return f"mobvibe-{Choices(self.home.choices).get('home_id')}-postgres"

    async def start(self) -> str:
        return await self.environment.start()

    async def remove(self) -> None:
        await self.environment.close()
        await self.environment.shut_down()
        await self.environment.remove_all()


@contextmanager
def _client() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    try:
        yield client
    finally:
        client.close()


async def _run(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(*argv)
    assert await process.wait() == 0, argv


async def _add_a_row(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table kept as select 7 as n")
    await connection.close()


async def test_a_pull_reports_its_bytes_and_an_image_without_postgres_is_refused(
    engine: DockerEngine, image_registry: ImageRegistry, tmp_path: Path
) -> None:
    with _client() as client:
        image = image_registry.offer(client, "big:1", _LAYERS)
    postgres = Postgres(tmp_path / "home", image)
    with pytest.raises(ServiceError, match="is not an image of Postgres"):
        await postgres.start()
    pulled = [one for one in postgres.reported if one.state == "downloading"]
    got = [one.got_bytes or 0 for one in pulled]
    assert len(pulled) > 2 and got == sorted(got) and got[0] < sum(_LAYERS) / 2
    assert pulled[-1].got_bytes == pulled[-1].all_bytes
    assert sum(_LAYERS) <= (pulled[-1].all_bytes or 0) < 1.01 * sum(_LAYERS)
    assert image in pulled[-1].detail and "MB" in pulled[-1].detail
    assert postgres.reported[-1].state == "failed"
    await postgres.remove()
    assert engine.images.remove(image)


async def test_offline_a_missing_image_is_reported_but_an_existing_container_starts(
    engine: DockerEngine, image_registry: ImageRegistry, tmp_path: Path
) -> None:
    image = image_registry.name("postgres:18")
    image_registry.stop()
    missing = Postgres(tmp_path / "missing", image)
    with pytest.raises(ImageMissing, match="is not here, and its registry does not answer"):
        await missing.start()
    assert (
        missing.reported[-1].state == "failed"
        and "--postgres embedded" in missing.reported[-1].remedy
    )
    await missing.remove()

    with _client() as client:
        assert client.images.get(POSTGRES_IMAGE).tag(image)
    postgres = Postgres(tmp_path / "home", image)
    await _add_a_row(await postgres.start())
    await postgres.environment.shut_down()
    assert engine.images.remove(image)
    assert await stored_number(await postgres.start()) == 7
    assert any(
        "its image is missing, but its container is there" in one.detail
        for one in postgres.reported
    )
    await postgres.remove()


async def test_in_auto_mode_a_missing_image_means_embedded_postgres(
    engine: DockerEngine, tmp_path: Path
) -> None:
    postgres = Postgres(tmp_path / "home", "127.0.0.1:1/nothing:1", mode="auto")
    await postgres.environment.migrate(await postgres.start())
    assert postgres.reported[-1].state == "healthy"
    assert "embedded (The image 127.0.0.1:1/nothing:1 is not here" in postgres.reported[-1].detail
    assert postgres.environment.services.modes.settled() == {"postgres": "embedded"}
    await postgres.remove()


async def test_a_removed_postgres_container_is_reported_and_recreated(
    engine: DockerEngine, tmp_path: Path
) -> None:
    postgres = Postgres(tmp_path / "home", POSTGRES_IMAGE)
    await _add_a_row(await postgres.start())
    lost = asyncio.create_task(postgres.environment.lost())
    engine.remove(postgres.container)
    assert "Postgres ended by itself" in (await asyncio.wait_for(lost, patient(30))).message
    assert await stored_number(await postgres.start()) == 7
    await postgres.remove()


async def test_postgres_moves_if_another_program_took_its_port(
    engine: DockerEngine, tmp_path: Path
) -> None:
    postgres = Postgres(tmp_path / "home", POSTGRES_IMAGE)
    dsn = await postgres.start()
    await _add_a_row(dsn)
    port = (await postgres.environment.running())[0].facts["port"]
    await postgres.environment.shut_down()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        again = await postgres.start()
        assert f":{port}/" not in again
        assert await stored_number(again) == 7
    await postgres.remove()


@pytest.fixture
def own_dockerd(
    tmp_path: Path, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., OwnEngine]]:
    """Starts a second dockerd and points DOCKER_HOST to it.

    It gets its own bridge, because a dockerd without one removes the bridge of the first.
    """
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("ip"):
        assert os.environ.get("CI") not in ("1", "true"), "needs root, dockerd and iproute2"
        pytest.skip("needs root, dockerd and iproute2")
    for words in (f"add {_BRIDGE} type bridge", f"set {_BRIDGE} up"):
        subprocess.run(("ip", "link", *words.split()), check=True)
    subprocess.run(("ip", "address", "add", "172.31.254.1/24", "dev", _BRIDGE), check=True)
    started: list[OwnEngine] = []

    def start(data: Path, *, address: str | None = None, before: tuple[str, ...] = ()) -> OwnEngine:
        own = OwnEngine(data, address=address, more=_NO_NETWORK, before=before)
        started.append(own)
        monkeypatch.setenv("DOCKER_HOST", own.address)
        own.start()
        return own

    yield start
    subprocess.run(("ip", "link", "delete", _BRIDGE), check=True)
    for own in started:
        own.stop()
        own.remove()
        # A killed dockerd leaves its data folder mounted on itself.
        for folder in (tmp_path / "data", tmp_path / "data" / "overlay2"):
            subprocess.run(("umount", "--lazy", folder), capture_output=True, check=False)


async def test_a_full_disk_of_the_engine_is_reported(
    own_dockerd: Callable[..., OwnEngine],
    engine: DockerEngine,
    image_registry: ImageRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _client() as client:
        image = image_registry.offer(client, "big:1", _LAYERS)
    disk = tmp_path / "disk"
    disk.mkdir()
    await _run("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk))
    try:
        await asyncio.to_thread(own_dockerd, disk)
        postgres = Postgres(tmp_path / "home", image)
        with pytest.raises(DiskFull, match="its disk is full"):
            await postgres.start()
        failed = postgres.reported[-1]
        assert failed.state == "failed" and "docker system prune" in failed.remedy
        assert "--postgres embedded" in failed.remedy
        await postgres.remove()
    finally:
        await _run("umount", "--lazy", str(disk))


@pytest.mark.parametrize("doing", ["pull", "build"])
async def test_an_engine_that_dies_during_a_pull_or_build_is_reported(
    doing: str,
    own_dockerd: Callable[..., OwnEngine],
    engine: DockerEngine,
    image_registry: ImageRegistry,
    tmp_path: Path,
) -> None:
    with _client() as client:
        image = image_registry.offer(client, "big:1", (60_000_000,))
    own = await asyncio.to_thread(own_dockerd, tmp_path / "data")
    dying = await asyncio.to_thread(DockerEngine.connect)
    files = {"Dockerfile": b"FROM scratch\nCOPY big /big\n", "big": bytes(20_000_000)}

    def kill(*_: object) -> None:
        own.kill()

    def build() -> None:
        dying.images.build(
            "never", files, arguments={}, labels={}, on_line=kill, time_limit=patient(60)
        )

    do = build if doing == "build" else lambda: dying.images.pull(image, "preview", kill)
    with pytest.raises(EngineUnavailable, match="No Docker engine answers"):
        await asyncio.to_thread(do)
    dying.close()


def test_an_engine_that_cannot_see_this_machines_folders_is_refused(
    own_dockerd: Callable[..., OwnEngine], tmp_path: Path
) -> None:
    """Its address is local, like that of an engine in a virtual machine or behind a tunnel."""
    served = tmp_path / "home" / "served"
    served.mkdir(parents=True)
    # Hide the home from this engine behind an empty file system.
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
    address = f"tcp://127.0.0.1:{pick_port(None)}"
    own_dockerd(tmp_path / "data", address=address, before=(*hide, str(served.parent)))
    engine = DockerEngine.connect()
    try:
        with _client() as client:
            client.api.import_image_from_data(tar_of({"x": b"x"}).read(), repository="tiny")
        spec = ContainerSpec("seen", "tiny", {}, ("x",), mounts=(Mount(str(served), "/srv/app"),))
        with pytest.raises(FolderUnseen, match="cannot see this machine's folder") as refused:
            engine.create(spec)
        assert str(served) in refused.value.message and "File sharing" in refused.value.remedy
    finally:
        engine.close()


async def test_an_engine_on_another_machine_is_refused_before_anything_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = Postgres(tmp_path / "home", POSTGRES_IMAGE)
    for address in ("tcp://192.0.2.77:2375", "ssh://builder@192.0.2.77"):
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(EngineUnavailable, match="is on another machine") as refused:
            await settled.start()
        assert address in refused.value.message and "unset DOCKER_HOST" in refused.value.remedy
    await settled.remove()
    chosen = Postgres(tmp_path / "auto", POSTGRES_IMAGE, mode="auto")
    await chosen.environment.migrate(await chosen.start())
    assert "is on another machine" in chosen.reported[-1].detail
    await chosen.remove()
