"""Words for a worker: where it runs, its last heartbeat, what it does. Colour never stands alone."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len
from textual.content import Content

from mobvibe_app.ui.words.values import MUTED, age, clock, one_line, shortened
from mobvibe_worker.jobs import WorkerSummary

ONE_LINE_FROM = 56
"""From this width on everything fits into one line."""
MOST_WORKERS = 6


def workers_lines(workers: tuple[WorkerSummary, ...], width: int, now: datetime) -> list[Content]:
    """Lines for the first workers, and how many more there are."""
    lines = [line for each in workers[:MOST_WORKERS] for line in worker_lines(each, width, now)]
    if len(workers) > MOST_WORKERS:
        lines.append(Content.styled(f"  and {len(workers) - MOST_WORKERS} more", MUTED))
    return lines


def worker_lines(worker: WorkerSummary, width: int, now: datetime) -> list[Content]:
    """One worker, in one line if there is room, else in two."""
    heard = age(worker.last_heartbeat_at, now)
    if worker.is_lost:
        place = shortened(_place(worker), width - len(heard) - 8)
        return [_ends(("✖", "$text-error"), place, f"lost {heard}", width)]
    mark = ("●", "$text-success" if not worker.work else "$text-warning")
    version = one_line(worker.version)
    if width < ONE_LINE_FROM:
        place = shortened(_place(worker), width - len(heard) - 3)
        room = width - cell_len(version) - 3
        doing = shortened(_doing(worker, now), room if room > 12 else width - 2)
        end = version if room > 12 else ""
        return [_ends(mark, place, heard, width), _ends((" ", ""), doing, end, width)]
    after = f"{version}  {heard}"
    place = shortened(_place(worker), width // 2)
    doing = shortened(_doing(worker, now), width - cell_len(place) - cell_len(after) - 6)
    return [_ends(mark, f"{place}  {doing}", after, width)]


def _place(worker: WorkerSummary) -> str:
    return f"{one_line(worker.host)}:{worker.pid}"


def _doing(worker: WorkerSummary, now: datetime) -> str:
    slots = f" 0/{worker.slots}" if worker.slots > 1 else ""
    if not worker.work:
        return f"idle{slots}"
    first = worker.work[0]
    since = clock(max((now - first.started_at).total_seconds(), 0))
    slots = f"{len(worker.work)}/{worker.slots} " if worker.slots > 1 else ""
    return f"{slots}{one_line(first.project)} {since}"


def _ends(mark: tuple[str, str], left: str, right: str, width: int) -> Content:
    gap = " " * max(width - cell_len(left) - cell_len(right) - 2, 1) if right else ""
    return Content.assemble(mark, " ", left, gap, (right, MUTED))
