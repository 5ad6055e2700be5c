"""The top bar shows the progress of the starter in small and large terminals."""

from __future__ import annotations

import pytest

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import ServiceChanged
from mobvibe_app.ui.widgets.top_bar import TopBar
from support.dashboard import shown
from support.scripted_studio import ScriptedStudio, build_changes, overview, services_up


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
async def test_the_starters_progress_is_shown_while_a_project_waits_for_it(
    columns: int, rows: int
) -> None:
    studio = ScriptedStudio(
        [
            *services_up(),
            *build_changes()[:2],
            overview("processing"),
            ServiceChanged(ServiceStatus("preview", "waiting")),
            ServiceChanged(ServiceStatus("starter", "downloading", "SDK 54", progress=0.27)),
        ]
    )
    async with shown(studio, (columns, rows)) as on:
        await on.until(lambda: "starter 27 %" in on.top)
        assert on.build.query_one(TopBar).render().cell_length <= columns
        studio.show(ServiceChanged(ServiceStatus("starter", "healthy", "SDK 54")))
        await on.until(lambda: "starter" not in on.top)
        assert "preview" in on.top
