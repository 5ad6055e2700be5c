"""Services cared for from the palette: offered where they make sense, and never in another person's view."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from mobvibe_app.status import ServiceState, ServiceStatus
from mobvibe_app.studio.changes import ServiceChanged, ViewChanged
from mobvibe_app.studio.commands import RebuildService, RestartService
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.words.services import service_lines
from support.scripted_studio import ScriptedStudio, build_changes, services_up


async def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)


async def test_the_palette_restarts_and_rebuilds_services() -> None:
    studio = ScriptedStudio([*services_up(), *build_changes()])
    app = MobvibeApp(studio, version="0", model_label="demo")
    async with app.run_test(size=(120, 40)):

        def commands() -> dict[str, Callable[[], object]]:
            return {each.title: each.callback for each in app.get_system_commands(app.screen)}

        await _until(lambda: "Restart the preview" in commands())
        for title, asked in (
            ("Restart the preview", RestartService("preview")),
            ("Restart Postgres", RestartService("postgres")),
            ("Rebuild previews", RebuildService("preview")),
        ):
            commands()[title]()
            await _until(partial(studio.asked.__contains__, asked))
        studio.tell(ViewChanged("ada@x.org"))
        await _until(lambda: "Restart Postgres" not in commands())


def test_a_build_shows_its_progress_as_a_pull_does() -> None:
    states: tuple[ServiceState, ...] = ("building", "downloading")
    for state in states:
        status = ServiceStatus("preview", state, "the image of SDK 54", progress=0.5)
        words, bar = (line.plain for line in service_lines(ServiceChanged(status).status, 60))
        assert words.endswith("the image of SDK 54 50 %")
        assert bar.count("━") == bar.count("─")
