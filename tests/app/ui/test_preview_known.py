"""What is known of a preview on the screen: phones, builds, the app's console, hints, and how it is woken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from textual.pilot import Pilot

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.facts import (
    Broken,
    Building,
    Bundled,
    Came,
    Hint,
    PreviewEvent,
    PreviewFacts,
    PreviewKnown,
    Said,
    Usage,
    moved_on,
)
from mobvibe_app.studio.changes import PreviewChanged, PreviewWatched
from mobvibe_app.studio.commands import SubmitPrompt, WakePreview
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.widgets.qr_code import QrCode
from support.scripted_studio import (
    SESSION,
    URL,
    ScriptedStudio,
    build_changes,
    empty_overview,
    services_up,
)

BUILT = [*services_up(), *build_changes()]
HINT = Hint("not-reached", "No phone has reached port 8081 yet.", "Is the phone in the same Wi-Fi?")


class Screen:
    """A running dashboard and what it says."""

    def __init__(self, pilot: Pilot[None], studio: ScriptedStudio) -> None:
        self.pilot, self.studio = pilot, studio

    @property
    def text(self) -> str:
        strips = self.pilot.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def until_text(self, text: str) -> None:
        for _ in range(200):
            if text in " ".join(self.text.split()):
                return
            await self.pilot.pause(0.05)
        raise AssertionError(f"{text!r} is not in:\n{self.text}")


@asynccontextmanager
async def shown(size: tuple[int, int] = (160, 45)) -> AsyncIterator[Screen]:
    studio = ScriptedStudio(BUILT)
    app = MobvibeApp(studio, version="0.1.0", model_label="demo")
    async with app.run_test(size=size) as pilot:
        screen = Screen(pilot, studio)
        await screen.until_text("8081")
        yield screen


def known(facts: PreviewFacts, hint: Hint | None = None) -> PreviewWatched:
    return PreviewWatched(SESSION, PreviewKnown("habit", facts, hint))


async def test_the_panel_follows_a_phone_from_the_wait_to_its_console() -> None:
    facts = PreviewFacts(usage=Usage(3.2, 212_000_000, 1_200_000, 800))
    async with shown() as screen:
        screen.studio.tell(known(facts))
        await screen.until_text("○ not opened yet")
        await screen.until_text("CPU 3 % · 212 MB · ↓1.2 MB ↑1 kB")
        facts = moved_on(facts, [Building(1.0, 212, 683)])
        screen.studio.tell(known(facts))
        await screen.until_text("◐ building: 212 of 683 modules")
        hostile = Said(4.0, "error", "it broke \x1b[2J[red]x[/red]")
        events: list[PreviewEvent] = [Bundled(2.0, "ios", 1.3, "h"), Came(3.0, 1, "h"), hostile]
        facts = moved_on(facts, events)
        screen.studio.tell(known(facts))
        await screen.until_text("● open on 1 device · bundle 1.3s")
        await screen.until_text("▯ it broke [red]x[/red]")
        screen.studio.tell(known(facts, HINT))
        await screen.until_text("docs/phone/not-reached.md")


async def test_a_stopped_preview_is_woken_by_the_keys_that_show_its_code() -> None:
    async with shown() as screen:
        await screen.pilot.press("v")
        assert WakePreview() not in screen.studio.asked
        await screen.pilot.press("escape")
        screen.studio.tell(known(PreviewFacts(ended="")))
        await screen.until_text("stopped · p starts it again")
        await screen.pilot.press("v")
        assert isinstance(screen.pilot.app.screen, QrScreen)
        for _ in range(100):
            if WakePreview() in screen.studio.asked:
                break
            await screen.pilot.pause(0.05)
        assert WakePreview() in screen.studio.asked


@pytest.mark.parametrize("size", [(160, 45), (60, 30), (36, 22), (33, 21)])
async def test_a_hint_stands_in_the_dialog_and_never_in_the_codes_place(
    size: tuple[int, int],
) -> None:
    async with shown((160, 45)) as screen:
        await screen.pilot.resize_terminal(*size)
        await screen.pilot.press("v")
        await screen.until_text("exp://")
        assert screen.pilot.app.screen.query_one(QrCode).display
        screen.studio.tell(known(PreviewFacts(), HINT))
        if size[0] >= 60:
            await screen.until_text("No phone has reached port 8081 yet.")
        else:
            await screen.pilot.pause(0.3)
        assert screen.pilot.app.screen.query_one(QrCode).display
        assert URL.rpartition(":")[2] in screen.text
        dialog = screen.pilot.app.screen.query_one("#qr-dialog").region
        assert dialog.width <= size[0] and dialog.height <= size[1]


async def test_a_new_app_can_be_one_for_browsers() -> None:
    studio = ScriptedStudio([*services_up(), empty_overview()])
    app = MobvibeApp(studio, version="0.1.0", model_label="demo")
    async with app.run_test(size=(120, 40)) as pilot:
        screen = Screen(pilot, studio)
        await screen.until_text("Describe an app")
        await pilot.press("i", "ctrl+t")
        await screen.until_text("New web app")
        await pilot.press("a", "p", "p", "enter")
        for _ in range(100):
            if studio.asked:
                break
            await pilot.pause(0.05)
        assert studio.asked == [SubmitPrompt("app", platform="web")]
        address = PreviewAddress(
            SESSION, "http://h:8081", 54, "Opens in any browser.", "http://h:8081"
        )
        studio.tell(*BUILT, PreviewChanged(SESSION, replace(address, platform="web")))
        await screen.until_text("http://h:8081")


def test_what_breaks_and_what_heals_an_app() -> None:
    broken = Broken(1.0, "", "Unexpected token", "App.tsx", 10)
    facts = moved_on(PreviewFacts(), [Bundled(0.5, "ios", 1.0, "h"), broken])
    assert facts.broken == broken and facts.active_at == 0.5
    assert moved_on(facts, [Bundled(2.0, "ios", 0.2, "h")]).broken is None
