"""The dashboard as plain lines: what runs, what is queued, what to try next."""

from __future__ import annotations

from mobvibe_app.cli.output import Output
from mobvibe_app.cli.serving import reported
from mobvibe_app.studio.changes import OverviewChanged
from mobvibe_app.studio.studio import Studio

MOST_SESSIONS = 10


async def show_plainly(studio: Studio, view_as: str | None, out: Output) -> int:
    """Start Postgres, then print the queue, the newest sessions and what to try. Raises MobvibeError."""
    try:
        backend = await studio.open(reported(out), as_host=False)
        view = backend.own
        if view_as is not None:
            view = await backend.see_as(view_as)
        overview = await view.overview.read()
    finally:
        await studio.close()
    if out.is_json:
        out.value({"overview": _overview_data(overview)})
    else:
        _print(out, overview)
    return 0


def _overview_data(overview: OverviewChanged) -> dict[str, object]:
    stats = overview.stats
    return {
        "queue": {
            "pending": stats.pending,
            "processing": stats.processing,
            "completed": stats.completed,
            "failed": stats.failed,
            "cancelled": stats.cancelled,
        },
        "sessions": [
            {"id": str(summary.id), "project": summary.project, "job_status": summary.job_status}
            for summary in overview.sessions
        ],
        "cost_today_usd": float(overview.cost_today_usd),
    }


def _print(out: Output, overview: OverviewChanged) -> None:
    stats = overview.stats
    out.line(
        f"queue: {stats.pending} waiting, {stats.processing} running, {stats.completed} completed, "
        f"{stats.failed} failed"
    )
    for summary in overview.sessions[:MOST_SESSIONS]:
        out.line(f"  {summary.project:<28} {summary.job_status or 'no job'}")
    if not overview.sessions:
        out.line("no sessions yet")
    out.line()
    out.line(
        "This is not a terminal, so here are plain lines. In a terminal the dashboard opens. Try:"
    )
    out.line("  mobvibe-tui demo                              the recorded builds")
    out.line(
        "  mobvibe-tui run --demo tip-splitter --keep    build one and serve it: no key, no cost"
    )
    out.line('  mobvibe-tui run "a tip calculator" --keep     with your own ANTHROPIC_API_KEY')
