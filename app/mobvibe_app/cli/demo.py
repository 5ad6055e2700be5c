"""mobvibe-tui demo: the recordings."""

from __future__ import annotations

from dataclasses import asdict

from mobvibe_app.cli.output import Output
from mobvibe_app.wiring import demo_summaries


def list_demos(out: Output) -> int:
    for demo in demo_summaries():
        if out.is_json:
            out.value({"demo": asdict(demo)})
            continue
        changes = f"  (changes {demo.changes})" if demo.changes else ""
        out.line(f"{demo.name:<20} {demo.title}{changes}")
    if not out.is_json:
        out.line()
        out.line("Replay one with: mobvibe-tui run --demo NAME --keep")
    return 0
