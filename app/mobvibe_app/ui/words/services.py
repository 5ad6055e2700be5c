"""Words for a service's state: its dot, its tone and its word. Colour never stands alone."""

from __future__ import annotations

from textual.content import Content

from mobvibe_app.status import ServiceState, ServiceStatus
from mobvibe_app.ui.commands import shown
from mobvibe_app.ui.words.values import MUTED, one_line, shortened

DOTS: dict[ServiceState, tuple[str, str]] = {
    "waiting": ("○", MUTED),
    "downloading": ("◐", "$text-warning"),
    "building": ("◐", "$text-warning"),
    "starting": ("◐", "$text-warning"),
    "healthy": ("●", "$text-success"),
    "failed": ("✖", "$text-error"),
    "stopped": ("○", MUTED),
}

UNDER_WAY: tuple[ServiceState, ...] = ("downloading", "building", "starting")


def dot(status: ServiceStatus) -> Content:
    return Content.styled(*DOTS[status.state])


def state_words(status: ServiceStatus) -> str:
    """The state in words: the detail or else the state's name, and the port."""
    words = one_line(status.detail) or ("" if status.state == "healthy" else status.state)
    if status.progress is not None and status.state in UNDER_WAY:
        words = f"{words} {round(status.progress * 100)} %".strip()
    if status.can_start_again and status.state == "stopped":
        words = f"{words}; {shown('qr')} starts it again"
    port = "" if status.port is None else f":{status.port}"
    if port and port not in words:
        words = f"{port} {words}".strip()
    return words or "ready"


def remedy_words(status: ServiceStatus) -> str:
    remedy = one_line(status.remedy)
    if status.can_start_again:
        return f"{remedy.removesuffix('.')}; {shown('qr')} starts it again."
    return remedy


def bar(progress: float, width: int) -> Content:
    """Progress from 0 to 1 as a bar of `width` cells."""
    done = round(min(max(progress, 0.0), 1.0) * width)
    return Content.assemble(("━" * done, "$text-warning"), ("─" * (width - done), MUTED))


def service_lines(status: ServiceStatus, width: int) -> list[Content]:
    """A service in the rows of a panel: dot, name and state, a bar while it loads, the remedy if it failed."""
    name = f"{status.name:<9}"
    words = state_words(status)
    style = "$text-error" if status.state == "failed" else MUTED
    head = Content.assemble(dot(status), " ", (name, "bold" if status.state == "failed" else ""))
    lines = [head + Content.styled(shortened(words, width - 11), style)]
    if status.state == "failed":
        remedy = remedy_words(status)
        reasons = [words, remedy] if len(words) > width - 11 else [remedy]
        if reasons[0] == words:
            lines = [head]
        for text in filter(None, reasons):
            lines.extend(Content(text).stylize(style).wrap(max(width - 2, 10)))
    elif status.progress is not None and status.state in UNDER_WAY:
        lines.append(Content("  ") + bar(status.progress, max(width - 2, 4)))
    return lines
