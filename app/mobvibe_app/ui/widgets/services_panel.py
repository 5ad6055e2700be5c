"""The services of the environment, and below them the workers on this database."""

from __future__ import annotations

from datetime import UTC, datetime

from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.widgets.panel import Panel
from mobvibe_app.ui.words.services import service_lines
from mobvibe_app.ui.words.workers import workers_lines


class ServicesPanel(Panel):
    """Each service with its state, detail, progress and remedy, then each worker."""

    def show(self, state: BuildState) -> None:
        width = self.line_width
        lines = [line for status in state.services for line in service_lines(status, width)]
        ready = sum(status.state == "healthy" for status in state.services)
        words = f"{ready} of {len(state.services)} ready" if lines else "starting"
        lines += workers_lines(state.workers, width, datetime.now(UTC))
        alive = sum(not worker.is_lost for worker in state.workers)
        self.show_lines(lines, f"{words} · {_workers(alive)}" if state.workers else words)
        self.call_after_refresh(self._fit, state, width)

    def _fit(self, state: BuildState, width: int) -> None:
        """Draw again if these lines brought a scrollbar, which takes a cell of each."""
        if self.line_width < width:
            self.show(state)


def _workers(number: int) -> str:
    return f"{number} worker" if number == 1 else f"{number} workers"
