"""The services of the environment: state, detail, progress, and what to do where one failed."""

from __future__ import annotations

from mobvibe_app.build_state import BuildState
from mobvibe_app.ui.service_words import service_lines
from mobvibe_app.ui.widgets.panel import Panel


class ServicesPanel(Panel):
    """One service after another."""

    def show(self, state: BuildState) -> None:
        """Show this state."""
        width = self.line_width
        lines = [line for status in state.services for line in service_lines(status, width)]
        ready = sum(status.state == "healthy" for status in state.services)
        self.show_lines(lines, f"{ready} of {len(state.services)} ready" if lines else "starting")
