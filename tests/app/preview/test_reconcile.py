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
from support.preview_keeping import OURS, Keeping
from support.preview_keeping import keeping as keeping

HOST = "127.0.0.1"
THEIRS = "bbbb2222"


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_the_registry_follows_the_running_preview(
    keeping: Callable[[Platform], Awaitable[Keeping]],
) -> None:
    kept = await keeping("mobile")
    assert await kept.reconcile() is None
    address = await kept.mirror.open(kept.session_id)
    assert address is not None and await kept.url_of_session() == address.metro_url
    # A preview that runs is not started, published or registered a second time.
    assert await kept.mirror.open(kept.session_id) == address and kept.serves == 1
    row = await kept.until_row("running")
    usage = row["resource_usage"]
    assert usage["memory_bytes"] > 50_000_000 and usage["network_rx_bytes"] is None

    # A deleted row is written again with the same values.
    await kept.pool.execute("delete from preview_containers")
    assert (await kept.until_row("running"))["metro_url"] == address.metro_url

    # On another network the row and the session get the new address; Metro keeps running.
    kept.address = "127.0.0.2"
    assert (await kept.until_row("running"))["metro_url"] == f"http://127.0.0.2:{port_of(address)}"
    assert await kept.url_of_session() == f"http://127.0.0.2:{port_of(address)}"
    known = kept.monitor.known(kept.project.slug)
    assert known is not None and "127.0.0.2" in known.metro_url
    kept.address = HOST
    await kept.until_row("running")

    # A phone counts as activity. After half an hour without a phone or a job the preview is stopped.
    await kept.pool.execute(
        "update preview_containers set last_activity_at = now() - interval '1 day'"
    )
    async with Phone(address.url):
        await until(lambda: kept.has_phone, 30)
        row = await kept.until_row("running")
        assert row["last_activity_at"].timestamp() > time.time() - 60
    await until(lambda: not kept.has_phone, 30)
    await kept.pool.execute(
        "update preview_containers set last_activity_at = now() - interval '1 day'"
    )
    kept.reconciler._touched[kept.project.slug] = time.time()
    await kept.pool.execute("alter table coding_jobs disable trigger user")
    await kept.pool.execute("update coding_jobs set updated_at = now() - interval '1 day'")
    await kept.pool.execute("alter table coding_jobs enable trigger user")
    assert (await kept.until_row("stopped"))["metro_url"] == address.metro_url
    assert await kept.url_of_session() is None and kept.reported[-1].state == "stopped"
    assert await kept.supervised.running(f"preview-{kept.project.slug}") is None

    # Opening it starts it again at the same address.
    again = await kept.mirror.open(kept.session_id)
    assert again == address and await kept.url_of_session() == address.metro_url
    assert (await kept.until_row("running"))["status"] == "running"


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_a_killed_metro_is_restarted_and_a_crash_loop_ends_with_its_cause(
    keeping: Callable[[Platform], Awaitable[Keeping]],
) -> None:
    kept = await keeping("mobile")
    address = await kept.mirror.open(kept.session_id)
    assert address is not None
    name = f"preview-{kept.project.slug}"
    running = await kept.supervised.running(name)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    async with within(60):
        while True:
            await kept.reconcile()
            again = await kept.supervised.running(name)
            if again is not None and again.pid != running.pid:
                break
            await asyncio.sleep(0.1)
    assert (await kept.until_row("running"))["metro_url"] == address.metro_url
    assert b"Look at" in await Phone(address.url).bundle()
    assert kept.reported == []

    budget = kept.reconciler._restarts[kept.project.slug]
    while budget.spend():
        pass
    os.kill(again.pid, signal.SIGKILL)
    assert (await kept.until_row("error"))["status"] == "error"
    assert kept.reported[-1].state == "failed" and "ended" in kept.reported[-1].detail
    assert await kept.url_of_session() is None
    await kept.reconcile()
    assert len(kept.reported) == 1


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_the_apps_console_becomes_events_and_two_homes_keep_separate_rows(
    keeping: Callable[[Platform], Awaitable[Keeping]],
) -> None:
    kept = await keeping("mobile")
    address = await kept.mirror.open(kept.session_id)
    assert address is not None
    running = asyncio.create_task(kept.reconciler.run())
    async with Phone(address.url) as phone:
        assert phone._socket is not None
        printed = {"type": "log", "level": "error", "data": ["it \x1b[31mbroke"]}
        async with within(30):
            while not (events := await _phone_events(kept)):
                await phone._socket.send(json.dumps(printed))
                await asyncio.sleep(0.2)
        for number in range(3 * MOST_LINES):
            printed = {"type": "log", "level": "log", "data": [f"line {number}"]}
            await phone._socket.send(json.dumps(printed))
            await asyncio.sleep(0.06)
    assert events[0] == {"text": "error: it broke", "author": "phone"}
    # An app that prints endlessly does not fill the database.
    deadline = time.monotonic() + patient(30)
    while "more than is stored" not in (await _phone_events(kept))[-1]["text"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    assert len(await _phone_events(kept)) == MOST_LINES + 1
    running.cancel()

    # If another home opens the same session it gets its own row, and the session keeps our address.
    theirs = kept.mirror_of(THEIRS)
    assert await theirs.open(kept.session_id) == address
    assert await kept.row(THEIRS) is not None and await kept.row() is not None
    session = await SessionStore(kept.pool).get(kept.session_id)
    assert session.container_id == container_id("process", OURS, kept.project.slug)
    assert await kept.stores.previews.of_home(THEIRS) != await kept.stores.previews.of_home(OURS)
    assert not await kept.stores.sessions.is_at_home(kept.session_id, THEIRS)
    await kept.stores.sessions.take_home(kept.session_id, THEIRS)
    assert await kept.stores.sessions.is_at_home(kept.session_id, THEIRS)
    assert not await kept.stores.sessions.is_at_home(kept.session_id, OURS)


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_a_web_session_is_served_as_a_page_with_a_script(
    keeping: Callable[[Platform], Awaitable[Keeping]],
) -> None:
    import httpx2

    kept = await keeping("web")
    address = await kept.mirror.open(kept.session_id)
    assert address is not None and address.platform == "web"
    session = await SessionStore(kept.pool).get(kept.session_id)
    assert session.webview_url == address.metro_url
    untouched = PreviewKnown(kept.project.slug, PreviewFacts(), None, address.metro_url)
    # The program itself requested the first bundle; no browser has the page open, and no build is running.
    await until(lambda: '"is":"built"' in kept.service.log(kept.project.slug).read_text(), 20)
    monitor = kept.monitor
    await until(lambda: monitor.known(kept.project.slug) == untouched, 20)
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
    keeping: Callable[[Platform], Awaitable[Keeping]],
) -> None:
    kept = await keeping("mobile")
    address = await kept.mirror.open(kept.session_id)
    assert address is not None
    async with Phone(address.url):
        await until(lambda: kept.has_phone, 30)
        kept.fault = ServiceError("Nothing answers.")
        await until(lambda: kept.ended == "Nothing answers.", 30)
        kept.fault = None
        await kept.mirror.open(kept.session_id)
        await until(lambda: kept.has_phone and kept.ended is None, 30)
    await until(lambda: not kept.has_phone, 30)


def port_of(address: PreviewAddress) -> int | None:
    return urlsplit(address.metro_url).port


async def _phone_events(kept: Keeping) -> list[dict[str, Any]]:
    events = await EventLog(kept.pool).read(kept.session_id)
    return [dict(one.data) for one in events if one.data.get("author") == "phone"]
