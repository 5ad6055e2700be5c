"""The registry of previews is reconciled with a real Metro and a real Postgres, whichever of them lost its state."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import PreviewFacts, PreviewKnown
from mobvibe_app.preview.reconcile import MOST_LINES
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.jobs import Platform
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.previews import container_id
from mobvibe_worker.store.sessions import SessionStore
from support.expo import expo_sdk as expo_sdk
from support.phone import Phone
from support.polling import patient, until, within
from support.preview_bench import HOME_ID, PreviewBench
from support.preview_bench import preview_bench as preview_bench

HOST = "127.0.0.1"
THEIRS = "bbbb2222"


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_the_registry_follows_the_running_preview(
    preview_bench: Callable[[Platform], Awaitable[PreviewBench]],
) -> None:
    bench = await preview_bench("mobile")
    assert await bench.reconcile() is None
    address = await bench.mirror.open(bench.session_id)
    assert address is not None and await bench.url_of_session() == address.metro_url
    # A preview that runs is not started, published or registered a second time.
    assert await bench.mirror.open(bench.session_id) == address and bench.serves == 1
    row = await bench.until_row("running")
    usage = row["resource_usage"]
    assert usage["memory_bytes"] > 50_000_000 and usage["network_rx_bytes"] is None

    # A deleted row is written again with the same values.
    await bench.pool.execute("delete from preview_containers")
    assert (await bench.until_row("running"))["metro_url"] == address.metro_url

    # On another network the row and the session get the new address; Metro keeps running.
    bench.address = "127.0.0.2"
    assert (await bench.until_row("running"))["metro_url"] == f"http://127.0.0.2:{port_of(address)}"
    assert await bench.url_of_session() == f"http://127.0.0.2:{port_of(address)}"
    known = bench.monitor.known(bench.project.slug)
    assert known is not None and "127.0.0.2" in known.metro_url
    bench.address = HOST
    await bench.until_row("running")

    # A phone counts as activity. After half an hour without a phone or a job the preview is stopped.
    await bench.pool.execute(
        "update preview_containers set last_activity_at = now() - interval '1 day'"
    )
    async with Phone(address.url):
        await until(lambda: bench.has_phone, 30)
        row = await bench.until_row("running")
        assert row["last_activity_at"].timestamp() > time.time() - 60
    await until(lambda: not bench.has_phone, 30)
    await bench.pool.execute(
        "update preview_containers set last_activity_at = now() - interval '1 day'"
    )
    bench.reconciler._touched[bench.project.slug] = time.time()
    await bench.pool.execute("alter table coding_jobs disable trigger user")
    await bench.pool.execute("update coding_jobs set updated_at = now() - interval '1 day'")
    await bench.pool.execute("alter table coding_jobs enable trigger user")
    assert (await bench.until_row("stopped"))["metro_url"] == address.metro_url
    assert await bench.url_of_session() is None and bench.reported[-1].state == "stopped"
    assert await bench.supervised.running(f"preview-{bench.project.slug}") is None

    # Opening it starts it again at the same address.
    again = await bench.mirror.open(bench.session_id)
    assert again == address and await bench.url_of_session() == address.metro_url
    assert (await bench.until_row("running"))["status"] == "running"


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_a_killed_metro_is_restarted_and_a_crash_loop_ends_with_its_cause(
    preview_bench: Callable[[Platform], Awaitable[PreviewBench]],
) -> None:
    bench = await preview_bench("mobile")
    address = await bench.mirror.open(bench.session_id)
    assert address is not None
    name = f"preview-{bench.project.slug}"
    running = await bench.supervised.running(name)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    async with within(60):
        while True:
            await bench.reconcile()
            again = await bench.supervised.running(name)
            if again is not None and again.pid != running.pid:
                break
            await asyncio.sleep(0.1)
    assert (await bench.until_row("running"))["metro_url"] == address.metro_url
    assert b"Look at" in await Phone(address.url).bundle()
    assert bench.reported == []

    budget = bench.reconciler._restarts[bench.project.slug]
    while budget.spend():
        pass
    os.kill(again.pid, signal.SIGKILL)
    assert (await bench.until_row("error"))["status"] == "error"
    assert bench.reported[-1].state == "failed" and "ended" in bench.reported[-1].detail
    assert await bench.url_of_session() is None
    await bench.reconcile()
    assert len(bench.reported) == 1


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_the_apps_console_becomes_events_and_two_homes_keep_separate_rows(
    preview_bench: Callable[[Platform], Awaitable[PreviewBench]],
) -> None:
    bench = await preview_bench("mobile")
    address = await bench.mirror.open(bench.session_id)
    assert address is not None
    running = asyncio.create_task(bench.reconciler.run())
    async with Phone(address.url) as phone:
        assert phone._socket is not None
        printed = {"type": "log", "level": "error", "data": ["it \x1b[31mbroke"]}
        async with within(30):
            while not (events := await _phone_events(bench)):
                await phone._socket.send(json.dumps(printed))
                await asyncio.sleep(0.2)
        for number in range(3 * MOST_LINES):
            printed = {"type": "log", "level": "log", "data": [f"line {number}"]}
            await phone._socket.send(json.dumps(printed))
            await asyncio.sleep(0.06)
    assert events[0] == {"text": "error: it broke", "author": "phone"}
    # An app that prints endlessly does not fill the database.
    deadline = time.monotonic() + patient(30)
    while "more than is stored" not in (await _phone_events(bench))[-1]["text"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    assert len(await _phone_events(bench)) == MOST_LINES + 1
    running.cancel()

    # If another home opens the same session it gets its own row, and the session keeps our address.
    theirs = bench.mirror_of(THEIRS)
    assert await theirs.open(bench.session_id) == address
    assert await bench.row(THEIRS) is not None and await bench.row() is not None
    session = await SessionStore(bench.pool).get(bench.session_id)
    assert session.container_id == container_id("process", HOME_ID, bench.project.slug)
    assert await bench.stores.previews.of_home(THEIRS) != await bench.stores.previews.of_home(
        HOME_ID
    )
    assert not await bench.stores.sessions.is_at_home(bench.session_id, THEIRS)
    await bench.stores.sessions.take_home(bench.session_id, THEIRS)
    assert await bench.stores.sessions.is_at_home(bench.session_id, THEIRS)
    assert not await bench.stores.sessions.is_at_home(bench.session_id, HOME_ID)


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_a_web_session_is_served_as_a_page_with_a_script(
    preview_bench: Callable[[Platform], Awaitable[PreviewBench]],
) -> None:
    import httpx2

    bench = await preview_bench("web")
    address = await bench.mirror.open(bench.session_id)
    assert address is not None and address.platform == "web"
    session = await SessionStore(bench.pool).get(bench.session_id)
    assert session.webview_url == address.metro_url
    untouched = PreviewKnown(bench.project.slug, PreviewFacts(), None, address.metro_url)
    # The program itself requested the first bundle; no browser has the page open, and no build is running.
    await until(lambda: '"is":"built"' in bench.service.log(bench.project.slug).read_text(), 20)
    monitor = bench.monitor
    await until(lambda: monitor.known(bench.project.slug) == untouched, 20)
    async with httpx2.AsyncClient(trust_env=False, timeout=patient(120)) as browser:
        page = await browser.get(session.webview_url, headers={"accept": "text/html"})
        assert page.status_code == 200 and "<script" in page.text
        source = page.text.partition('<script src="')[2].partition('"')[0].replace("&amp;", "&")
        script = await browser.get(f"{session.webview_url}{source}")
    assert script.status_code == 200 and b"Look at" in script.content
    assert "platform=web" in source and len(script.content) > 500_000


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_a_preview_that_could_not_be_watched_for_a_while_is_watched_again(
    preview_bench: Callable[[Platform], Awaitable[PreviewBench]],
) -> None:
    bench = await preview_bench("mobile")
    address = await bench.mirror.open(bench.session_id)
    assert address is not None
    async with Phone(address.url):
        await until(lambda: bench.has_phone, 30)
        bench.fault = ServiceError("Nothing answers.")
        await until(lambda: bench.ended == "Nothing answers.", 30)
        bench.fault = None
        await bench.mirror.open(bench.session_id)
        await until(lambda: bench.has_phone and bench.ended is None, 30)
    await until(lambda: not bench.has_phone, 30)


def port_of(address: PreviewAddress) -> int | None:
    return urlsplit(address.metro_url).port


async def _phone_events(bench: PreviewBench) -> list[dict[str, Any]]:
    events = await EventLog(bench.pool).read(bench.session_id)
    return [dict(one.data) for one in events if one.data.get("author") == "phone"]
