"""The palette offers maintenance of services if it makes sense, and never in another person's view."""

from __future__ import annotations

from functools import partial

from mobvibe_app.status import ServiceState, ServiceStatus
from mobvibe_app.studio.changes import ServiceChanged, ViewChanged
from mobvibe_app.studio.commands import RebuildService, RestartService
from mobvibe_app.ui.words.services import service_lines
from support.dashboard import shown
from support.scripted_studio import ScriptedStudio, build_changes, services_up


async def test_the_palette_restarts_and_rebuilds_services() -> None:
    async with shown(ScriptedStudio([*services_up(), *build_changes()])) as on:
        await on.until(lambda: "Restart the preview" in on.commands)
        for title, asked in (
            ("Restart the preview", RestartService("preview")),
            ("Restart Postgres", RestartService("postgres")),
            ("Rebuild previews", RebuildService("preview")),
        ):
            on.commands[title]()
            await on.until(partial(on.studio.asked.__contains__, asked))
        on.studio.show(ViewChanged("ada@x.org"))
        await on.until(lambda: "Restart Postgres" not in on.commands)


def test_a_preview_that_can_start_again_names_its_key() -> None:
    stopped = ServiceStatus("preview", "stopped", "tips: stopped", can_start_again=True)
    (line,) = service_lines(stopped, 60)
    assert line.plain.endswith("tips: stopped; p starts it again")
    failed = ServiceStatus("preview", "failed", "it ended", "See its log.", can_start_again=True)
    assert service_lines(failed, 60)[-1].plain.strip() == "See its log; p starts it again."


def test_a_build_and_a_download_show_their_progress() -> None:
    states: tuple[ServiceState, ...] = ("building", "downloading")
    for state in states:
        status = ServiceStatus("preview", state, "the image of SDK 54", progress=0.5)
        words, bar = (line.plain for line in service_lines(ServiceChanged(status).status, 60))
        assert words.endswith("the image of SDK 54 50 %")
        assert bar.count("━") == bar.count("─")
