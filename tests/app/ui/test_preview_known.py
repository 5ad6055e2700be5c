"""The screen shows a preview's phones, builds, console and hints, and its keys wake a stopped preview."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import (
    Broken,
    Building,
    Bundled,
    ConsoleLine,
    Hint,
    PhoneConnected,
    PreviewEvent,
    PreviewFacts,
    PreviewKnown,
    Usage,
    apply,
)
from mobvibe_app.studio.changes import PreviewChanged, PreviewWatched
from mobvibe_app.studio.commands import SubmitPrompt, WakePreview
from mobvibe_app.ui.screens.build import BuildScreen
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.widgets.qr_code import QrCode
from support.dashboard import shown
from support.scripted_studio import (
    SESSION,
    URL,
    ScriptedStudio,
    build_changes,
    empty_overview,
    services_up,
)

BUILT = [*services_up(), *build_changes()]
WIDE = (160, 45)
HINT = Hint("not-reached", "No phone has reached port 8081 yet.", "Is the phone in the same Wi-Fi?")


def known(facts: PreviewFacts, hint: Hint | None = None) -> PreviewWatched:
    return PreviewWatched(SESSION, PreviewKnown("habit", facts, hint))


async def test_the_panel_follows_a_phone_until_its_app_prints_to_the_console() -> None:
    facts = PreviewFacts(usage=Usage(3.2, 212_000_000, 1_200_000, 800))
    async with shown(ScriptedStudio(BUILT), WIDE) as screen:
        await screen.until_text("8081")
        screen.studio.show(known(facts))
        await screen.until_text("○ not opened yet")
        await screen.until_text("CPU 3 % · 212 MB · ↓1.2 MB ↑1 kB")
        facts = apply(facts, [Building(1.0, 212, 683)])
        screen.studio.show(known(facts))
        await screen.until_text("◐ building: 212 of 683 modules")
        hostile = ConsoleLine(4.0, "error", "it broke \x1b[2J[red]x[/red]")
        events: list[PreviewEvent] = [
            Bundled(2.0, "ios", 1.3, "h"),
            PhoneConnected(3.0, 1, "h"),
            hostile,
        ]
        facts = apply(facts, events)
        screen.studio.show(known(facts))
        await screen.until_text("● open on 1 device · bundle 1.3s")
        await screen.until_text("▯ it broke [red]x[/red]")
        screen.studio.show(known(facts, HINT))
        await screen.until_text("docs/phone/not-reached.md")


async def test_a_stopped_preview_is_woken_by_the_keys_that_show_its_code() -> None:
    async with shown(ScriptedStudio(BUILT), WIDE) as screen:
        await screen.until_text("8081")
        await screen.press("v")
        await screen.until_screen(QrScreen)
        assert WakePreview() not in screen.studio.asked
        await screen.press("escape")
        await screen.until_screen(BuildScreen)
        screen.studio.show(known(PreviewFacts(ended="")))
        await screen.until_text("stopped · p starts it again")
        await screen.press("v")
        await screen.until_screen(QrScreen)
        await screen.until(lambda: WakePreview() in screen.studio.asked)


@pytest.mark.parametrize("size", [(160, 45), (60, 30), (36, 22), (33, 21)])
async def test_a_hint_appears_in_the_dialog_and_never_hides_the_code(
    size: tuple[int, int],
) -> None:
    async with shown(ScriptedStudio(BUILT), WIDE) as screen:
        await screen.until_text("8081")
        await screen.pilot.resize_terminal(*size)
        await screen.press("v")
        await screen.until_screen(QrScreen)
        await screen.until_text("exp://")
        await screen.until(lambda: screen.app.screen.query_one(QrCode).display)
        screen.studio.show(known(PreviewFacts(), HINT))
        await screen.until(lambda: screen.app.state.preview_known is not None)
        if size[0] >= 60:
            await screen.until_text("No phone has reached port 8081 yet.")
        assert screen.app.screen.query_one(QrCode).display
        assert URL.rpartition(":")[2] in screen.text
        dialog = screen.app.screen.query_one("#qr-dialog").region
        assert dialog.width <= size[0] and dialog.height <= size[1]


async def test_the_stream_is_idle_below_a_dialog_in_a_small_window() -> None:
    async with shown(ScriptedStudio(BUILT), WIDE) as screen:
        await screen.until_text("8081")
        await screen.pilot.resize_terminal(36, 22)
        await screen.press("v")
        await screen.until_screen(QrScreen)
        await screen.until_text("exp://")
        before = time.process_time()
        await asyncio.sleep(1.0)
        assert time.process_time() - before < 0.5


async def test_a_new_app_can_be_a_web_app() -> None:
    async with shown(ScriptedStudio([*services_up(), empty_overview()])) as screen:
        await screen.until_text("Describe an app")
        await screen.write("ctrl+t")
        await screen.until_text("New web app")
        await screen.press("a", "p", "p", "enter")
        await screen.until_asked(SubmitPrompt("app", platform="web"))
        address = PreviewAddress(
            SESSION, "http://h:8081", 54, "Opens in any browser.", "http://h:8081"
        )
        screen.studio.show(*BUILT, PreviewChanged(SESSION, replace(address, platform="web")))
        await screen.until_text("http://h:8081")


def test_a_failed_bundle_breaks_an_app_and_the_next_one_repairs_it() -> None:
    broken = Broken(1.0, "", "Unexpected token", "App.tsx", 10)
    facts = apply(PreviewFacts(), [Bundled(0.5, "ios", 1.0, "h"), broken])
    assert facts.broken == broken and facts.active_at == 0.5
    assert apply(facts, [Bundled(2.0, "ios", 0.2, "h")]).broken is None
