"""The dashboard on a scripted studio: what it shows, which commands it sends, and what the keys do."""

from __future__ import annotations

import asyncio
import math
import threading
import time

import pytest
from textual.geometry import Offset
from textual.screen import Screen
from textual.selection import Selection

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    PreviewChanged,
    ServiceChanged,
    SessionSelected,
    TroubleChanged,
)
from mobvibe_app.studio.commands import CancelJob, ReplayDemo, SelectSession, SubmitPrompt
from mobvibe_app.studio.state import BuildState, Trouble
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.messages import CommandGiven
from mobvibe_app.ui.screens.build import SEEN_SECONDS, BuildScreen
from mobvibe_app.ui.screens.confirm import ConfirmScreen
from mobvibe_app.ui.screens.qr import QrScreen
from mobvibe_app.ui.stream.view import StreamView
from mobvibe_worker.errors import InputError
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import PROMPT_LIMIT
from support.dashboard import shown
from support.polling import patient, until
from support.scripted_studio import (
    DEMOS,
    SESSION,
    URL,
    ScriptedStudio,
    build_changes,
    empty_overview,
    event,
    overview,
    preview,
    services_up,
)

BUILT = [*services_up(), *build_changes()]


async def test_the_first_screen_explains_the_start_and_replays_a_build() -> None:
    async with shown(ScriptedStudio([*services_up(), empty_overview()])) as on:
        await on.until_text("Describe an app. Scan the code.")
        await on.until_text("demo: recorded, no cost")
        await on.press("down", "enter")
        await on.until_asked(ReplayDemo(DEMOS[1].name))
        await on.until_text("On the phone")


async def test_while_postgres_starts_its_progress_is_shown() -> None:
    downloading = ServiceStatus("postgres", "downloading", "binaries", progress=0.62)
    async with shown(ScriptedStudio([ServiceChanged(downloading)]), (80, 24)) as on:
        await on.until_text("binaries 62 %")
        await on.until_text("Starting")


async def test_until_the_feed_is_built_commands_are_refused_and_quitting_opens_nothing() -> None:
    is_building, may_end, has_ended = (threading.Event() for _ in range(3))
    studio = ScriptedStudio(services_up())

    def build_feed() -> ScriptedStudio:
        is_building.set()
        may_end.wait(patient(30))
        has_ended.set()
        return studio

    app = MobvibeApp(build_feed, version="0.1.0", model_label="demo")
    running = asyncio.create_task(app.run_async(headless=True, size=(120, 40)))
    try:
        await until(is_building.is_set)
        app.post_message(CommandGiven(CancelJob()))
        refused = Trouble("mobvibe-tui is still starting.", "Try again in a second.")
        await until(lambda: app.state.trouble == refused)
        app.exit()
        await asyncio.wait_for(running, patient(10))
    finally:
        may_end.set()
        running.cancel()
    await until(has_ended.is_set)
    assert not studio.asked and not studio.is_started and not studio.is_closed


async def test_a_build_fills_every_panel() -> None:
    async with shown(ScriptedStudio(BUILT), (200, 60)) as on:
        await on.until_text(URL)
        await on.until_text("components/HabitRow.tsx")
        for expected in (
            "4 changed",
            "2 waiting",
            "14 done",
            ":54329",
            "Plant diary",
            "$0.41 today",
        ):
            await on.until_text(expected)


async def test_a_prompt_goes_to_the_shown_project_and_n_starts_a_new_one() -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text("On the phone")
        bigger = SubmitPrompt("bigger\ntext", SESSION)
        await on.write(*"bigger", "ctrl+j", *"text", "enter")
        await on.until_asked(bigger)
        await on.press("escape")
        await on.until(lambda: on.stream.has_focus)
        await on.write(*"a clock", "enter", after="n")
        await on.until_asked(bigger, SubmitPrompt("a clock", platform="mobile"))


async def test_a_refused_prompt_stays_and_the_banner_says_what_to_do() -> None:
    refusal = InputError("Free text needs a model [a/b].", "Set a key.")
    async with shown(ScriptedStudio(BUILT, refusal=refusal)) as on:
        await on.until_text("On the phone")
        await on.write(*"a clock", "enter")
        await on.until_text("✖ Free text needs a model [a/b]. Set a key.")
        assert on.prompt.text == "a clock"


@pytest.mark.parametrize(
    ("text", "message"),
    [("  \n ", "The prompt is empty."), ("x" * (PROMPT_LIMIT + 1), "20,001 / 20,000")],
)
async def test_an_empty_or_too_long_prompt_is_not_sent(text: str, message: str) -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text("On the phone")
        await on.write()
        on.prompt.text = text
        await on.press("enter")
        await on.until_text(message)
        await on.until_text("✖ The prompt")
        assert on.prompt.text == text
    assert not on.studio.asked


async def test_up_recalls_an_earlier_prompt_and_down_the_draft() -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text("On the phone")
        await on.write(*"draft", "up")
        await on.until(lambda: on.prompt.text.startswith("A habit tracker"))
        await on.press("down")
        await on.until(lambda: on.prompt.text == "draft")


async def test_the_stream_follows_new_events_until_scrolled_up() -> None:
    many = tuple(event(seq, Message(f"row {seq}")) for seq in range(1, 201))
    start = [*services_up(), overview(), SessionSelected(SESSION), EventsArrived(many)]
    async with shown(ScriptedStudio(start), (80, 24)) as on:
        await on.until_text("row 200")
        await on.press("ctrl+u")
        await on.until(lambda: not on.stream.is_following)
        top = on.stream.scroll_offset.y
        on.studio.show(EventsArrived(tuple(event(n, Message(f"row {n}")) for n in range(201, 241))))
        await on.until_text("▼ 40 new")
        assert on.stream.scroll_offset.y == top
        await on.press("G")
        await on.until_text("row 240")
        on.studio.show(EventsArrived((event(241, Message("the last")),)))
        await on.until_text("the last")


async def test_n_walks_the_matches_and_after_the_search_starts_a_new_app() -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text("On the phone")
        await on.search("types")
        await on.until_text("match 3/3")
        await on.press("n")
        await on.until_text("match 1/3")
        await on.press("N")
        await on.until_text("match 3/3")
        await on.press("escape")
        await on.until(lambda: not on.stream.is_searching)
        await on.press("n")
        await on.until(lambda: on.prompt.is_for_new_app and on.prompt.has_focus)


async def test_selected_text_has_no_gutter_and_joins_wrapped_lines() -> None:
    long = Message("alpha beta gamma delta " * 6, "person")
    start: list[Change] = [
        overview(),
        SessionSelected(SESSION),
        EventsArrived((event(1, long), event(2, Message("end")))),
    ]
    async with shown(ScriptedStudio(start), (80, 24)) as on:
        await on.until_text("end")
        text, _ = on.stream.get_selection(Selection(Offset(3, 0), Offset(40, 3))) or ("", "")
    assert text == long.text.strip() + "\nend"


async def test_text_selected_with_the_mouse_is_copied_without_the_clock() -> None:
    async with shown(ScriptedStudio(BUILT), (200, 40)) as on:
        await on.until_text("On the phone")
        await on.pilot.mouse_down(StreamView, offset=(13, 1))
        await on.pilot.hover(StreamView, offset=(27, 1))
        await on.pilot.mouse_up(StreamView, offset=(27, 1))
        await on.press("ctrl+c")
        await on.until_text("clipboard")
        await on.until(lambda: on.app.clipboard == "A habit tracker")


async def test_cancel_asks_for_confirmation() -> None:
    async with shown(ScriptedStudio([*services_up(), *build_changes()[:3]])) as on:
        await on.until_text("x Cancel")
        await on.press("x")
        await on.until_screen(ConfirmScreen)
        await on.press("escape")
        await on.until_screen(BuildScreen)
        await on.press("x")
        await on.until_screen(ConfirmScreen)
        await on.press("y")
        await on.until_asked(CancelJob())


async def test_the_footer_omits_keys_that_would_do_nothing() -> None:
    async with shown(ScriptedStudio([*services_up(), empty_overview()])) as on:
        await on.until_text("Replay")
        await on.until(lambda: "Demos" in on.footer)
        assert "QR" not in on.footer and "Cancel" not in on.footer
        await on.write()
        await on.until(lambda: "Send" in on.footer and "Demos" not in on.footer)


async def test_enter_on_a_session_shows_it() -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text("On the phone")
        await on.press("1", "down", "enter")
        await on.until(lambda: bool(on.studio.asked))
        await on.until(lambda: on.app.state.selected != SESSION)
        await on.until_no_text(URL)
        on.studio.show(PreviewChanged(SESSION, preview()))
        on.studio.show(TroubleChanged("reported after it"))
        await on.until_text("reported after it")
        assert URL not in on.text
    assert isinstance(on.studio.asked[0], SelectSession)


async def test_p_shows_the_code_beside_the_stream_or_as_a_dialog() -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text(URL)
        # While the panel slides in, the key does not close it, however slow the machine is.
        on.build.slid_in_at = math.inf
        await on.press("p")
        on.studio.show(TroubleChanged("pressed"))
        await on.until_text("pressed")
        await on.until_text("4 Preview")
        on.build.slid_in_at = time.monotonic() - SEEN_SECONDS
        await on.press("p")
        await on.until_no_text("4 Preview")
        await on.press("p")
        await on.until_text("4 Preview")
        await on.pilot.resize_terminal(80, 24)
        await on.until_text("▣ preview ready: p")
        await on.press("p")
        await on.until_screen(QrScreen)
        on.studio.show(PreviewChanged(SESSION, preview("exp://192.168.1.23:8082")))
        await on.until_text("exp://192.168.1.23:8082")
        await on.press("v", "v")
        await on.until_no_text("▀")
        await on.until_text("exp://192.168.1.23:8082")


@pytest.mark.parametrize("size", [(33, 21), (36, 22), (60, 16), (30, 10)])
async def test_the_dialog_fits_any_terminal(size: tuple[int, int]) -> None:
    async with shown(ScriptedStudio(BUILT), size) as on:
        await on.until(lambda: on.app.state.preview is not None)
        on.app.action_large_qr()
        await on.until_text("exp://")
        await on.until(lambda: ("▀" in on.text) == (size[0] >= 29 and size[1] >= 16))
        dialog = on.app.screen.query_one("#qr-dialog").region
        assert dialog.width <= size[0] and dialog.height <= size[1]


async def test_narrow_tabs_show_one_panel_each() -> None:
    async with shown(ScriptedStudio(BUILT), (80, 24)) as on:
        await on.until_text("On the phone")
        for key, text in (("2", "Recipe box"), ("3", "SDK 54"), ("4", "lib/streaks.ts")):
            await on.press(key)
            await on.until_text(text)
            await on.until_no_text("On the phone")
        await on.press("1")
        await on.until_text("On the phone")


async def test_z_maximizes_the_stream_and_escape_restores_it() -> None:
    async with shown(ScriptedStudio(BUILT)) as on:
        await on.until_text("On the phone")
        await on.press("z")
        await on.until(lambda: on.build.maximized is on.stream)
        await on.press("escape")
        await on.until(lambda: on.build.maximized is None)


async def test_quitting_asks_only_while_a_job_runs() -> None:
    async with shown(ScriptedStudio([*services_up(), *build_changes()[:3]])) as on:
        await on.until_text("1 running")
        await on.press("q")
        await on.until_screen(ConfirmScreen)
        await on.press("escape")
        await on.until_screen(BuildScreen)
        on.studio.show(overview("completed"))
        await on.until(lambda: not on.app.state.is_anything_running)
        await on.press("q")
        await on.until(lambda: not on.app.is_running)


async def test_trouble_is_a_banner_that_disappears_once_it_is_over() -> None:
    async with shown(
        ScriptedStudio([*BUILT, TroubleChanged("Postgres does not answer.", "Wait.")])
    ) as on:
        await on.until_text("✖ Postgres does not answer. Wait.")
        assert "On the phone" in on.text
        on.studio.show(TroubleChanged(None))
        await on.until_no_text("does not answer")


class SecondScreen(Screen[None]):
    """Another screen of the same state."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[BuildState] = []

    def on_mount(self) -> None:
        """Follow the app's state."""
        self.watch(self.app, "state", self.show)

    def show(self, state: BuildState) -> None:
        """Record the state."""
        self.shown.append(state)


async def test_a_second_screen_shows_the_same_state_as_the_first() -> None:
    async with shown(ScriptedStudio([*services_up(), *build_changes()[:3]])) as on:
        await on.until_text("1 running")
        second = SecondScreen()
        await on.app.push_screen(second)
        await on.until(lambda: [each.stats.processing for each in second.shown] == [1])
        on.studio.show(overview("completed"))
        await on.until(lambda: second.shown[-1].stats.processing == 0)
        assert second.shown[-1] is on.app.state
        on.app.pop_screen()
        await on.until_no_text("1 running")
