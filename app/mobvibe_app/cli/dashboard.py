"""mobvibe-tui without a command: the dashboard, or plain lines if there is no terminal."""

from __future__ import annotations

import asyncio
import gc

from mobvibe_app.cli.output import Output
from mobvibe_app.settings import AppSettings


def open_dashboard(settings: AppSettings, out: Output, *, is_plain: bool) -> int:
    """Open the dashboard, or print what it would show. Raises MobvibeError if the home is unusable."""
    from mobvibe_worker.home import Home

    home = Home(settings.home)
    home.prepare()
    if is_plain:
        from mobvibe_app.cli.summary import show_plainly
        from mobvibe_app.wiring import build_studio

        return asyncio.run(show_plainly(build_studio(settings), settings.view_as, out))
    # Imports free nothing, and a collection while they run costs a tenth of the time to the first paint.
    gc.disable()
    from mobvibe_app.wiring import build_dashboard
    from mobvibe_worker.store.connection.query_log import write_to

    write_to(home.logs / "queries.log")
    dashboard = build_dashboard(settings)
    gc.enable()
    gc.freeze()
    dashboard.run()
    return dashboard.return_code or 0
