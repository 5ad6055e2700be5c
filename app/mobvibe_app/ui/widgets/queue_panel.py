"""The queue in figures, and the jobs of the last hour as a row of bars."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.widgets.panel import Panel
from mobvibe_app.ui.words.values import MUTED, clock

BARS = "▁▂▃▄▅▆▇█"


class QueuePanel(Panel):
    """Counts by status, the age of the oldest waiting job, and the last hour."""

    def show(self, state: BuildState) -> None:
        stats = state.stats
        first = [
            _figure(stats.pending, "waiting", "$text-warning"),
            _figure(stats.processing, "running", "$text-warning"),
        ]
        second = [
            _figure(stats.completed, "done", "$text-success"),
            _figure(stats.failed, "failed", "$text-error"),
        ]
        if stats.cancelled:
            second.append(_figure(stats.cancelled, "cancelled", MUTED))
        oldest = stats.oldest_pending_seconds
        waits = "" if oldest is None else f"oldest {clock(oldest)} · "
        bars = sparkline(state.finished_per_minute, self.line_width)
        lines = [Content("  ").join(first), Content("  ").join(second)]
        self.show_lines([*lines, Content.styled(bars, "$text-primary")], f"{waits}last 60 min")


def _figure(number: int, word: str, style: str) -> Content:
    return Content.assemble((str(number), style if number else ""), (f" {word}", MUTED))


def sparkline(counts: Sequence[int], width: int) -> str:
    """Counts as `width` bars, adding up adjacent counts; the lowest bar means zero."""
    if width <= 0:
        return ""
    values = [0] * width
    for index, number in enumerate(counts):
        values[index * width // len(counts)] += number
    highest = max(values, default=0)
    if not highest:
        return BARS[0] * width
    return "".join(BARS[-(-value * (len(BARS) - 1) // highest)] for value in values)
