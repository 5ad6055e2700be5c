"""Previews in containers of a real engine reach phones, are sandboxed, survive kills and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
import docker
import httpx2
import pytest

from mobvibe_app.containers.spec import HOME_LABEL, ContainerSpec
from mobvibe_app.preview.facts import PreviewFacts, apply
from mobvibe_app.preview.network import lan_address
from mobvibe_app.preview.providers.container import ContainerPreview
from mobvibe_app.preview.providers.extra_packages import ExtraPackages
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.workspace.publish import ServedFolder
from support.containers.containers import (
    Containers,
    until_ended,
    until_number_is_readable,
    until_settled,
)
from support.containers.containers import containers as containers
from support.containers.engine import BASE_IMAGE, POSTGRES_IMAGE, SharedEngine
from support.containers.expo_images import IMAGE_OWNER, cached_image, certificates
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.phone import Phone
from support.polling import patient, within

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


class Previews:
    """Previews in containers, over the prepared SDK of this run."""

    def __init__(self, containers: Containers, expo: ExpoSdk, image: str) -> None:
        self.expo = expo
        self.host = lan_address()
        self.service = ContainerPreview(
            containers.home,
            containers.supervisor,
            expo.sdk,
            containers.engine,
            home_id=containers.home_id,
            image=image,
            extra=ExtraPackages(
                containers.engine,
                expo.starter.files("Warm-up", "warm-up")["package.json"],
                certificates(),
                lambda status: None,
            ),
        )
        self.home = containers.home

    def serve(
        self, slug: str, text: str, packages: Mapping[str, str] | None = None, first: str = ""
    ) -> ServedFolder:
        """Publish the starter's app with this text, with `first` before its code and with more `packages`."""
        folder = ServedFolder(self.home.sdk(self.expo.sdk.version).served(slug))
        files = dict(self.expo.starter.files(slug, slug))
        app = first + files["App.tsx"].decode().replace("Open up App.tsx", text)
        manifest = json.loads(files["package.json"])
        manifest["dependencies"] |= packages or {}
        changed = {"App.tsx": app.encode(), "package.json": json.dumps(manifest).encode()}
        folder.publish({**files, **changed})
        return folder


@pytest.fixture
async def previews(containers: Containers, expo_sdk: ExpoSdk) -> Previews:
    tag = await cached_image(containers.engine, expo_sdk)
    return Previews(containers, expo_sdk, tag)


@pytest.mark.expo
async def test_two_projects_and_later_edits_reach_phones(
    previews: Previews, containers: Containers
) -> None:
    for slug in ("one", "two"):
        previews.serve(slug, f"This is {slug}")
    one, two = await asyncio.gather(
        *(previews.service.start(slug, address=previews.host) for slug in ("one", "two"))
    )
    assert one.port != two.port
    networks = containers.client.networks.list(names=[f"^mobvibe-{containers.home_id}$"])
    assert len(networks) == 1
    for slug, served in (("one", one), ("two", two)):
        phone = Phone(f"exp://{previews.host}:{served.port}")
        manifest = await phone.manifest()
        assert manifest["runtimeVersion"] == previews.expo.sdk.runtime_version
        assert f"//{previews.host}:{served.port}/" in manifest["launchAsset"]["url"]
        assert f"This is {slug}".encode() in await phone.bundle()
    async with Phone(f"exp://{previews.host}:{one.port}") as phone:
        await asyncio.to_thread(previews.serve, "one", "Edited on this machine")
        await phone.sees("Edited on this machine")
        await _assert_phone_is_reported(previews, "one")
    assert await previews.service.start("one", address=previews.host) == one
    _assert_is_sandboxed(containers, "one")
    await previews.service.stop("one")
    names = [found.name for found in containers.engine.labelled(containers.home_id)]
    assert names == [f"mobvibe-{containers.home_id}-preview-two"]


async def _assert_phone_is_reported(previews: Previews, slug: str) -> None:
    """The container's log reports the phone, and the engine counts the container's resources."""
    log = await previews.service.events(slug)
    assert log is not None
    facts = PreviewFacts()
    async with within(20):
        while not (facts.phones and facts.bundled_at):
            facts = apply(facts, log.read())
            await asyncio.sleep(0.05)
    usage = await previews.service.usage(slug)
    assert usage is not None and usage.memory_bytes > 50_000_000
    assert usage.sent_bytes is not None and usage.sent_bytes > 1_000


def _assert_is_sandboxed(containers: Containers, slug: str) -> None:
    """Checks the engine's settings, and tries from inside the container."""
    name = f"mobvibe-{containers.home_id}-preview-{slug}"
    container = containers.client.containers.get(name)
    host = container.attrs["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert host["ReadonlyRootfs"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert host["PidsLimit"] and host["Memory"] and host["NanoCpus"]
    mounts = [mount for mount in container.attrs["Mounts"] if mount["Type"] != "tmpfs"]
    assert [(mount["Destination"], mount["RW"]) for mount in mounts] == [("/srv/app", False)]
    script = (
        "id -u; for f in /srv/app/x /srv/node_modules/x /etc/x /root/x; do touch $f && echo wrote; done; "
        "ls /var/run/docker.sock; env; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status"
    )
    output = container.exec_run(["sh", "-c", script]).output.decode()
    assert output.splitlines()[0] != "0" and "wrote" not in output
    assert "CapEff:\t0000000000000000" in output and "NoNewPrivs:\t1" in output
    assert not any(word in output for word in ("ANTHROPIC", "DATABASE_URL", "POSTGRES", "MOBVIBE"))


@pytest.mark.expo
async def test_a_preview_started_without_a_network_opens_to_phones_once_there_is_one(
    previews: Previews, containers: Containers
) -> None:
    previews.serve("opened", "Open to phones")
    container = f"mobvibe-{containers.home_id}-preview-opened"
    for host, bound in (("127.0.0.1", "127.0.0.1"), ("192.0.2.7", "0.0.0.0")):
        served = await previews.service.start("opened", address=host)
        assert served == await previews.service.start("opened", address=host)
        ports = containers.client.containers.get(container).attrs["HostConfig"]["PortBindings"]
        assert ports[f"{served.port}/tcp"] == [{"HostIp": bound, "HostPort": str(served.port)}]


@pytest.mark.expo
async def test_a_projects_own_packages_are_in_its_first_and_later_containers(
    previews: Previews, containers: Containers
) -> None:
    code = "import escape from 'escape-string-regexp';\nconsole.log(escape('a.b'));\n"
    previews.serve("extra", "With more", {"escape-string-regexp": "5.0.0"}, code)
    for _ in range(2):
        served = await previews.service.start("extra", address=previews.host)
        bundle = await Phone(f"exp://{previews.host}:{served.port}").bundle()
        assert b"With more" in bundle and b"Expected a string" in bundle
        await previews.service.stop("extra")
    for wanted, why in (
        ("file:/etc", "no version in npm's registry"),
        ("99.0.0", "No matching version found for escape-string-regexp@99.0.0"),
    ):
        previews.serve("extra", "With more", {"escape-string-regexp": wanted})
        with pytest.raises(ServiceError, match=re.escape(why)):
            await previews.service.start("extra", address=previews.host)
    assert containers.engine.labelled(containers.home_id) == ()
    for image in containers.engine.images.labelled(IMAGE_OWNER):
        if image.tags and "-extra:" in image.tags[0]:
            assert containers.engine.images.remove(image.id)


@pytest.mark.expo
async def test_a_killed_preview_restarts_and_one_whose_port_was_taken_moves(
    previews: Previews, containers: Containers
) -> None:
    previews.serve("hit", "Still here")
    served = await previews.service.start("hit", address=previews.host)
    name = f"mobvibe-{containers.home_id}-preview-hit"
    await until_settled(containers, name)
    containers.client.containers.get(name).kill()
    await _until_bundled(f"exp://{previews.host}:{served.port}", b"Still here")
    await previews.service.stop("hit")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # phones used it just now
        other.bind(("0.0.0.0", served.port))
        other.listen()
        moved = await previews.service.start("hit", address=previews.host)
        assert moved.port != served.port
        with pytest.raises(ServiceError, match="is taken by"):
            await previews.service.start("hit", address=previews.host, port=served.port)


@pytest.mark.expo
async def test_a_container_left_by_a_killed_client_is_replaced_or_removed(
    previews: Previews, containers: Containers
) -> None:
    previews.serve("left", "Left behind")
    served = await previews.service.start("left", address=previews.host)
    os.kill(served.pid, 9)
    await until_ended(containers, "preview-left")
    again = await previews.service.start("left", address=previews.host)
    assert b"Left behind" in await Phone(f"exp://{previews.host}:{again.port}").bundle()
    os.kill(again.pid, 9)
    await until_ended(containers, "preview-left")
    assert await previews.service.remove_strays() == (f"mobvibe-{containers.home_id}-preview-left",)
    assert containers.engine.labelled(containers.home_id) == ()


async def _until_bundled(url: str, text: bytes, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + patient(seconds)
    while True:
        try:
            assert text in await Phone(url).bundle()
            return
        except (httpx2.HTTPError, AssertionError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def test_only_what_a_home_created_is_removed(containers: Containers) -> None:
    engine, other = containers.engine, secrets.token_hex(4)
    for home in (containers.home_id, other):
        labels = {HOME_LABEL: home}
        engine.create_volume(f"mobvibe-{home}-x", labels)
        engine.ensure_network(f"mobvibe-{home}", labels)
        engine.create(ContainerSpec(f"mobvibe-{home}-x", BASE_IMAGE, labels, ("sleep", "99")))
        engine.start(f"mobvibe-{home}-x")
    foreign = _make_foreign(containers.client, other)
    removed = engine.remove_labelled(containers.home_id)
    assert removed.containers == removed.volumes == (f"mobvibe-{containers.home_id}-x",)
    assert removed.networks == (f"mobvibe-{containers.home_id}",)
    assert not engine.remove_labelled(containers.home_id)
    assert [found.is_running for found in engine.labelled(other)] == [True]
    assert engine.remove_labelled(other).volumes == (f"mobvibe-{other}-x",)
    assert foreign.container.name in [one.name for one in containers.client.containers.list()]
    foreign.remove()
    assert engine.images.find(BASE_IMAGE) and engine.images.find(POSTGRES_IMAGE)


@dataclass
class _Foreign:
    """A container, volume and network of another program, named like ours but without our label."""

    container: docker.models.containers.Container
    volume: docker.models.volumes.Volume
    network: docker.models.networks.Network

    def remove(self) -> None:
        """Remove all of it; an error if any of it is missing."""
        self.container.remove(force=True)
        self.volume.remove()
        self.network.remove()


def _make_foreign(client: docker.DockerClient, name: str) -> _Foreign:
    foreign = f"mobvibe-foreign-{name}"
    labels = {"dev.mobvibe.other": name}
    volume = client.volumes.create(foreign, labels=labels)
    network = client.networks.create(foreign)
    container = client.containers.run(
        BASE_IMAGE,
        ["sleep", "99"],
        name=foreign,
        labels=labels,
        network=foreign,
        volumes=[f"{foreign}:/x"],
        detach=True,
    )
    return _Foreign(container, volume, network)


@pytest.mark.expo
async def test_services_run_again_after_the_daemon_restarts(
    previews: Previews, containers: Containers, shared_engine: SharedEngine
) -> None:
    if shared_engine.own is None:
        pytest.skip("needs a Docker daemon of our own, to restart it")
    postgres = containers.postgres()
    address = await postgres.start(lambda status: None)
    connection = await asyncpg.connect(address.dsn)
    await connection.execute("create table kept (n int); insert into kept values (7)")
    previews.serve("back", "Back again")
    served = await previews.service.start("back", address=previews.host)
    await asyncio.to_thread(shared_engine.own.stop)
    await asyncio.to_thread(shared_engine.own.start)
    await until_number_is_readable(address.dsn)
    await _until_bundled(f"exp://{previews.host}:{served.port}", b"Back again")
