"""The first row: product, project, services, jobs, cost. A narrow terminal drops the least important first."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.state import BuildState
from mobvibe_app.ui.words.services import dot
from mobvibe_app.ui.words.values import MUTED, money, one_line, shortened

GAP = "   "


class TopBar(Widget):
    """One row that sums up everything."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    TopBar {
        dock: top;
        height: 1;
        padding: 0 1;
    }
    """

    def __init__(self, model_label: str) -> None:
        super().__init__()
        self._model_label = one_line(model_label)
        self._state = BuildState()

    def show(self, state: BuildState) -> None:
        self._state = state
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        del container, viewport, width
        return 1

    def render(self) -> Content:
        """The parts that fit, in the order of their importance."""
        width = self.size.width
        left = Content.assemble(("▲ mobvibe", "bold $text-accent"))
        if project := self._project():
            left = left + Content.assemble("  ", (shortened(project, max(width // 4, 12)), "bold"))
        if person := self._state.viewed_as:
            seen = shortened(f"as {one_line(person)}", max(width // 3, 16))
            left = left + Content.assemble("  ", (seen, "bold $text-warning"))
        chosen: list[Content] = []
        room = width - left.cell_length
        for variants in self._parts(with_words=width >= 100):
            for part in variants:
                if part and part.cell_length + len(GAP) <= room:
                    chosen.append(part)
                    room -= part.cell_length + len(GAP)
                    break
        return Content(GAP).join([left, *chosen])

    def _project(self) -> str:
        session = self._state.selected_session
        return one_line(session.project) if session else ""

    def _parts(self, *, with_words: bool) -> list[tuple[Content, ...]]:
        """The parts after the name, each with its shorter variants."""
        state = self._state
        shown = self._services(with_words=with_words)
        label = self._model_label
        style = "$text-warning" if label.startswith("demo") else MUTED
        return [
            (Content("  ").join(map(self._service, shown)), Content(" ").join(map(dot, shown))),
            (self._jobs(),),
            (Content.styled(label, style), Content.styled(label.split(":")[0], style)),
            (Content.styled(f"{money(state.cost_today_usd)} today", MUTED),),
        ]

    def _services(self, *, with_words: bool) -> list[ServiceStatus]:
        """The services worth a place; the starter only while it loads, if need be instead of those that wait."""
        services = self._state.services
        starter = next((each for each in services if each.name == "starter"), None)
        others = [each for each in services if each is not starter]
        if starter is None or starter.state in ("healthy", "waiting"):
            return others
        if with_words:
            return list(services)
        if starter.progress is None:
            return others
        return [*(each for each in others if each.state != "waiting"), starter]

    def _service(self, status: ServiceStatus) -> Content:
        busy = status.state not in ("healthy", "waiting")
        word = "" if not busy else f" {status.state}"
        if status.progress is not None and busy:
            word = f" {round(status.progress * 100)} %"
        return Content.assemble(dot(status), f" {status.name}", (word, MUTED))

    def _jobs(self) -> Content:
        stats = self._state.stats
        words = []
        if stats.processing:
            words.append(f"{stats.processing} running")
        if stats.pending:
            words.append(f"{stats.pending} queued")
        return Content.styled(" · ".join(words), "$text-warning")
