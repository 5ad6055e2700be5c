"""Runs the dashboard on a scripted studio in a terminal: `python scripted_dashboard.py SCRIPT FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    OverviewChanged,
    ServiceChanged,
    SessionSelected,
    TroubleChanged,
)
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_worker.errors import InputError
from mobvibe_worker.events import ErrorRaised, FileChange, Message, Payload, Terminal, Thinking
from mobvibe_worker.jobs import QueueStats
from support.scripted_studio import (
    DEMOS,
    SESSION,
    ScriptedStudio,
    build_changes,
    empty_overview,
    event,
    services_up,
    summary,
)

HOSTILE = "app/(tabs)/[id].tsx a[/b]c [red]x[/red] \x1b]0;PWNED\x07\x1b[2J\x9b31m\u202eevil"


def hostile_changes() -> list[Change]:
    """Text that would drive a careless terminal, in every place that shows text from outside."""
    payloads: tuple[Payload, ...] = (
        Message(HOSTILE, "person"),
        Thinking(HOSTILE, "1"),
        FileChange(HOSTILE, "created", 1, 0, HOSTILE),
        Terminal(HOSTILE, "failed", HOSTILE),
        ErrorRaised(HOSTILE, HOSTILE),
        Message(HOSTILE),
    )
    events = tuple(event(seq, payload) for seq, payload in enumerate(payloads, 1))
    sessions = (summary(1, HOSTILE, "failed", project=HOSTILE),)
    return [
        ServiceChanged(ServiceStatus("postgres", "failed", HOSTILE, HOSTILE)),
        OverviewChanged(QueueStats(failed=1), sessions, empty_overview().cost_today_usd),
        SessionSelected(SESSION),
        EventsArrived(events),
        TroubleChanged(HOSTILE, HOSTILE),
    ]


def main() -> None:
    """Run the named script, then write to FILE how it ended."""
    script, ending = sys.argv[1], Path(sys.argv[2])
    changes: list[Change] = {
        "empty": [*services_up(), empty_overview()],
        "built": [*services_up(), *build_changes()],
        "running": [*services_up(), *build_changes()[:3]],
        "hostile": hostile_changes(),
        "raising": services_up(),
        "impossible": [*services_up(), EventsArrived((HOSTILE,))],  # type: ignore[arg-type]
    }[script]
    studio = ScriptedStudio(
        changes,
        refusal=InputError(HOSTILE, HOSTILE) if script == "hostile" else None,
        failure=RuntimeError(HOSTILE) if script == "raising" else None,
    )
    app = MobvibeApp(
        lambda: studio, version="0.1.0", model_label="demo: recorded, no cost", demos=DEMOS
    )
    app.run()
    ending.write_text(f"closed={studio.is_closed} code={app.return_code}")
    sys.exit(app.return_code or 0)


if __name__ == "__main__":
    main()
