"""Previews on the real Metro serve phones while revisions are published and programs are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator

import httpx2
import psutil
import pytest

from mobvibe_app.preview.network import lan_address
from mobvibe_app.preview.providers.process import ProcessPreview
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.supervisor.ports import is_free, pick_port
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.revisions import FileTree
from mobvibe_worker.workspace.metro_view import MetroView
from mobvibe_worker.workspace.publish import ServedFolder
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.phone import Phone
from support.polling import patient, until_gone, within

pytestmark = [pytest.mark.expo, pytest.mark.timeout(600)]


class Previews:
    """The previews of the run's home, and the projects that they serve."""

    def __init__(self, expo: ExpoSdk, supervisor: Supervisor) -> None:
        self.expo = expo
        self.supervisor = supervisor
        self.processes = ProcessPreview(expo.home, supervisor, expo.node, expo.sdk)
        self.host = lan_address()

    def serve(self, slug: str, text: str) -> ServedFolder:
        """Publish a project that shows `text`."""
        folder = ServedFolder(self.expo.folder.served(slug))
        folder.publish(self.tree(slug, text))
        return folder

    def tree(self, slug: str, text: str, more: FileTree | None = None) -> FileTree:
        files = dict(self.expo.starter.files(slug, slug))
        app = files["App.tsx"].decode().replace("Open up App.tsx", text)
        return {**files, "App.tsx": app.encode(), **(more or {})}


@pytest.fixture
async def previews(expo_sdk: ExpoSdk) -> AsyncIterator[Previews]:
    supervisor = await Supervisor.connect(expo_sdk.home)
    yield Previews(expo_sdk, supervisor)
    if not supervisor.lost.is_set():
        await supervisor.shutdown()
    await supervisor.close()


def family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


async def test_phones_open_two_projects_at_once(previews: Previews) -> None:
    for slug in ("one", "two"):
        previews.serve(slug, f"This is {slug}")
    one = await previews.processes.start("one", address=previews.host)
    two = await previews.processes.start("two", address=previews.host)
    assert one.port != two.port
    for slug, served in (("one", one), ("two", two)):
        assert served.metro_url == f"http://{previews.host}:{served.port}"
        phone = Phone(f"exp://{previews.host}:{served.port}")
        manifest = await phone.manifest()
        assert manifest["runtimeVersion"] == previews.expo.sdk.runtime_version
        assert manifest["extra"]["expoClient"]["slug"] == slug
        assert f"//{previews.host}:{served.port}/" in manifest["launchAsset"]["url"]
        bundle = await phone.bundle()
        assert len(bundle) > 1_000_000 and f"This is {slug}".encode() in bundle
    again = await previews.processes.start("one", address=previews.host)
    assert again == one
    pids = family(one.pid)
    await previews.processes.stop("one")
    await until_gone(pids)
    back = await previews.processes.start("one", address=previews.host)
    # A program of another test may have taken the port meanwhile.
    assert back.port == one.port or not is_free(one.port)
    # However the last client ends, every Metro ends with it.
    pids = [*family(two.pid)]
    await previews.supervisor.shutdown()
    await until_gone(pids)


async def test_no_request_fails_while_revisions_are_published(
    previews: Previews,
) -> None:
    folder = previews.serve("busy", "Revision zero")
    served = await previews.processes.start("busy", address=previews.host)
    phone = Phone(f"exp://{previews.host}:{served.port}")
    url = (await phone.manifest())["launchAsset"]["url"]
    seen: list[int] = []

    async def poll() -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=patient(120)) as client:
            while True:
                answer = await client.get(url)
                assert answer.status_code == 200, answer.text[:800]
                seen.append(len(answer.content))

    polling = asyncio.create_task(poll())
    base = previews.tree("busy", "x")["App.tsx"].decode()
    for turn in range(1, 13):
        # Each revision imports a new file (in a new folder, in nested ones or at the top) and drops the one before.
        name = (f"part{turn}", f"folder{turn}/part", f"deep{turn}/er/part")[turn % 3]
        part = f"export const label = 'Revision number {turn}';\n".encode()
        app = f"import {{ label }} from './{name}';\nconsole.log(label);\n{base}".encode()
        tree = {**previews.tree("busy", "x"), "App.tsx": app, f"{name}.ts": part}
        await asyncio.to_thread(folder.publish, tree)
        await _until_served(url, f"Revision number {turn}", polling)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert len(seen) > 12


async def _until_served(url: str, text: str, polling: asyncio.Task[None]) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=patient(120)) as client, within(60):
        while text.encode() not in (await client.get(url)).content:
            if polling.done():
                polling.result()
            await asyncio.sleep(0.02)


async def test_a_fixed_port_that_is_taken_is_refused_and_can_be_used_once_free(
    previews: Previews,
) -> None:
    previews.serve("ports", "Ports")
    with socket.create_server(("0.0.0.0", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(
            ServiceError, match=rf"Port {taken}.*taken by python.*pid {os.getpid()}"
        ):
            await previews.processes.start("ports", address=previews.host, port=taken)
    fixed = await previews.processes.start("ports", address=previews.host, port=taken)
    assert fixed.port == taken


async def test_another_homes_metro_on_the_chosen_port_is_not_mistaken_for_ours(
    previews: Previews,
) -> None:
    """Two homes may choose the same free port, because a Metro needs seconds until it listens."""
    previews.serve("raced", "Raced")
    port = pick_port(None, host="0.0.0.0")
    Choices(previews.expo.home.choices).remember_port("preview-raced", port)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"packager-status:running"
        writer.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    starting = asyncio.create_task(previews.processes.start("raced", address=previews.host))
    while await previews.supervisor.running("preview-raced") is None:
        assert not starting.done()
        await asyncio.sleep(0.01)
    async with await asyncio.start_server(answer, "0.0.0.0", port):
        served = await starting
    assert served.port != port
    manifest = await Phone(f"exp://{previews.host}:{served.port}").manifest()
    assert manifest["extra"]["expoClient"]["slug"] == "raced"


async def test_a_preview_that_dies_or_cannot_start_is_reported_with_the_reason(
    previews: Previews, expo_sdk: ExpoSdk
) -> None:
    previews.serve("dying", "Dying")
    served = await previews.processes.start("dying", address=previews.host)
    ending = asyncio.create_task(previews.processes.ended("dying"))
    await asyncio.sleep(0)
    pids = family(served.pid)
    # Replies arrive in the order of the requests, so after this one `ended` is waiting.
    await previews.supervisor.status()
    os.kill(served.pid, signal.SIGKILL)
    async with within(20):
        failure = await ending
    assert failure is not None and "dying ended" in failure.message
    await until_gone(pids)
    (Home(expo_sdk.home.root).sdk(54).served("dying") / "app.json").write_text("{ not json")
    with pytest.raises(ServiceError, match=r"app\.json") as refused:
        await previews.processes.start("dying", address=previews.host)
    assert "preview-dying.log" in refused.value.remedy


async def test_another_projects_metro_does_not_delay_a_publish(previews: Previews) -> None:
    previews.serve("mine", "Mine")
    other = previews.serve("other", "Other")
    served = await previews.processes.start("mine", address=previews.host)
    # A new Metro's first reply takes seconds on a busy machine and must not count.
    await Phone(f"exp://{previews.host}:{served.port}").bundle()
    other.served_on(served.port)
    MetroView(other.root, served.port).write_marker()
    tree = previews.tree("other", "Two", {"src/a.ts": b"export const a = 1;\n"})
    started = time.monotonic()
    await asyncio.to_thread(other.publish, tree)
    assert time.monotonic() - started < patient(10)
    assert (other.root / "src" / "a.ts").exists() and other.edits() is None
