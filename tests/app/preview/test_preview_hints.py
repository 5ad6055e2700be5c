"""Hints explain why a phone shows nothing, from facts and time alone and on a real Metro."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from mobvibe_app.cli.serving import news
from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import (
    Asked,
    Broken,
    Building,
    Bundled,
    ConsoleLine,
    Hint,
    PreviewEvent,
    PreviewFacts,
    PreviewKnown,
    apply,
)
from mobvibe_app.preview.hints import SILENT_SECONDS, UNREACHED_SECONDS, PhoneRoute, hint_for
from mobvibe_app.preview.monitor import PreviewMonitor
from mobvibe_app.preview.network import find_route, lan_address
from mobvibe_app.preview.providers.local import PreviewService
from mobvibe_app.preview.providers.process import ProcessPreview
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.errors import InputError
from mobvibe_worker.jobs import SessionId
from mobvibe_worker.workspace.publish import ServedFolder
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.phone import Phone
from support.polling import patient, until, within

PAGES = Path(__file__).parents[3]
_ID = UUID(int=1)
MANIFEST = Asked(100.0, "manifest", "ios", "192.168.1.7")
BUNDLE = Asked(101.0, "bundle", "ios", "192.168.1.7")
BROKEN = Broken(102.0, "ios", "Error: /x/App.tsx: Unexpected token (10:3)\n\n 8 | x", "App.tsx", 10)


def hint(
    *events: PreviewEvent,
    waited: float = 0.0,
    address: str = "192.168.1.20",
    route: PhoneRoute | None = None,
) -> Hint | None:
    """The hint `waited` seconds after the last event, or after the code was shown if there is no event."""
    facts = apply(PreviewFacts(), events)
    shown_at = events[-1].at if events else 0.0
    return hint_for(
        facts,
        address=address,
        port=8081,
        expo_go="Opens in Expo Go 54.",
        route=route or PhoneRoute("wlan0"),
        shown_at=shown_at,
        now=shown_at + waited,
    )


def key(found: Hint | None) -> str | None:
    return found.key if found else None


def test_each_hint_appears_as_soon_as_it_can_be_known_and_has_a_page() -> None:
    silent = SILENT_SECONDS + 1
    assert key(hint(waited=UNREACHED_SECONDS - 1)) is None
    assert key(hint(waited=UNREACHED_SECONDS)) == "not-reached"
    assert key(hint(address="127.0.0.1")) == "not-reached"
    vpn = hint(route=PhoneRoute("wg0", is_vpn=True))
    assert vpn is not None and "VPN (wg0)" in vpn.message
    walled = hint(waited=60, route=PhoneRoute("wlan0", firewall="The firewall ufw"))
    assert walled is not None and "ufw is on: let TCP port 8081 in" in walled.remedy
    assert key(hint(MANIFEST, waited=1)) is None
    wrong = hint(MANIFEST, waited=silent)
    assert key(wrong) == "wrong-expo-go" and wrong is not None and "54" in wrong.remedy
    assert key(hint(MANIFEST, BUNDLE, waited=silent)) is None
    assert key(hint(MANIFEST, BUNDLE, Building(101.5, 1, 600), waited=silent)) is None
    broken = hint(MANIFEST, BUNDLE, BROKEN)
    assert broken is not None and broken.message.endswith(
        "compile: App.tsx:10: Unexpected token (10:3)"
    )
    assert key(hint(MANIFEST, BUNDLE, BROKEN, Bundled(103.0, "ios", 1.0, "h"), waited=60)) is None
    assert key(hint(Asked(1.0, "page", "web", "h"))) == "opened-in-a-browser"
    for name in ("not-reached", "wrong-expo-go", "bundle-failed", "opened-in-a-browser"):
        assert (PAGES / Hint(name, "", "").page).is_file()


def test_a_preview_that_ended_has_no_hint() -> None:
    facts = replace(PreviewFacts(), ended="")
    network = PhoneRoute()
    found = hint_for(facts, address="h", port=1, expo_go="", route=network, shown_at=0, now=1e9)
    assert found is None


def test_the_route_of_an_address_names_its_interface_and_any_vpn() -> None:
    assert find_route("127.0.0.1").interface.startswith("lo")
    assert find_route("100.101.1.1").is_vpn
    assert not find_route(socket.gethostname()).is_vpn


def test_run_prints_only_what_is_new() -> None:
    first = PreviewKnown("x", PreviewFacts(), Hint("not-reached", "Unreached.", "Look."))
    assert news(None, first) == [
        "hint: Unreached.",
        "      Look.",
        "      see docs/phone/not-reached.md",
    ]
    assert news(first, first) == []
    opened = apply(first.facts, [Bundled(1.0, "ios", 1.25, "h"), ConsoleLine(2.0, "log", "hello")])
    second = PreviewKnown("x", opened)
    assert news(first, second) == ["h opened the app: bundle 1.2s", "phone log: hello"]
    assert news(second, second) == []
    ended = PreviewKnown("x", replace(opened, ended="it crashed"))
    assert news(second, ended) == ["the preview ended: it crashed"]


class Home:
    """Previews of one SDK."""

    def __init__(self, service: PreviewService) -> None:
        self._service = service

    async def previews(self, version: int) -> PreviewService:
        return self._service


@pytest.mark.expo
@pytest.mark.timeout(300)
async def test_a_phone_that_stops_before_the_app_opens_gets_a_hint(expo_sdk: ExpoSdk) -> None:
    host = lan_address()
    async with await Supervisor.connect(expo_sdk.home) as supervisor:
        service = ProcessPreview(expo_sdk.home, supervisor, expo_sdk.node, expo_sdk.sdk)
        folder = ServedFolder(expo_sdk.folder.served("hinted"))
        files = expo_sdk.starter.files("hinted", "hinted")
        folder.publish(files)
        served = await service.start("hinted", address=host)
        url = f"exp://{host}:{served.port}"
        address = PreviewAddress(SessionId(_ID), url, 54, "SDK 54", served.metro_url, slug="hinted")
        monitor = PreviewMonitor(Home(service).previews)
        monitor.watch(address)

        def current() -> str | None:
            known = monitor.known("hinted")
            return key(known.hint) if known else None

        await until(lambda: current() == "not-reached", UNREACHED_SECONDS + 10)
        async with httpx2.AsyncClient(trust_env=False, timeout=patient(60)) as browser:
            await browser.get(served.metro_url, headers={"accept": "text/html"})
        await until(lambda: current() == "opened-in-a-browser", 10)
        phone = Phone(url)
        await phone.manifest()
        await until(lambda: current() is None, 10)
        await until(lambda: current() == "wrong-expo-go", SILENT_SECONDS + 10)
        (folder.root / "App.tsx").write_text("export default function App( {")
        with pytest.raises(AssertionError, match="SyntaxError"):
            while True:
                await phone.bundle()
        await until(lambda: current() == "bundle-failed", 10)
        (folder.root / "App.tsx").write_bytes(files["App.tsx"])
        async with within(30):
            while current() is not None:
                try:
                    await phone.bundle()
                except AssertionError:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.3)
        # A stopped Metro is known to have ended, and nothing is known of a new one.
        await service.stop("hinted")
        await until(
            lambda: (known := monitor.known("hinted")) is not None and known.facts.ended == ""
        )
        await service.start("hinted", address=host)
        await until(
            lambda: (known := monitor.known("hinted")) is not None and known.facts == PreviewFacts()
        )
        await monitor.close()
        await supervisor.shutdown()


@pytest.mark.parametrize("fault", [OSError("No space left"), InputError("No such host.")])
async def test_a_preview_that_can_no_longer_be_watched_counts_as_ended(
    fault: Exception,
) -> None:
    async def previews(version: int) -> PreviewService:
        raise fault

    monitor = PreviewMonitor(previews)
    monitor.watch(PreviewAddress(SessionId(_ID), "exp://h:1", 54, "", "http://h:1", slug="blind"))
    await until(lambda: (known := monitor.known("blind")) is not None and bool(known.facts.ended))
    await monitor.close()
