"""Formats single values: one line of outside text, paths, ages, durations, money, counts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from rich.cells import cell_len, set_cell_size

from mobvibe_worker.sanitize import clean_text

LINE_LIMIT = 2_000
MUTED = "$foreground 60%"
"""The style of units, ages and hints; a share of the foreground is readable on every theme."""
ELLIPSIS = "…"


def one_line(text: str) -> str:
    """Text from outside as one safe line, at most 2,000 characters."""
    return " ".join(clean_text(text[:LINE_LIMIT]).split())


def shortened(text: str, width: int) -> str:
    """The text, cut at the end to at most `width` cells."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + ELLIPSIS if width > 0 else ""


def shortened_path(path: str, width: int) -> str:
    """The path, cut in the middle to at most `width` cells, so that the file's name stays."""
    if cell_len(path) <= width:
        return path
    tail = path.rsplit("/", 1)[-1]
    room = width - cell_len(tail) - 2
    if room < 1:
        return shortened(tail, width)
    return f"{set_cell_size(path, room)}{ELLIPSIS}/{tail}"


def age(moment: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit: 12s, 3m, 5h, 2d."""
    seconds = max(int((now - moment).total_seconds()), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def duration(seconds: float) -> str:
    """Seconds as 3.1s, 48s, 2m 14s or 1h 05m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3_600}h {whole % 3_600 // 60:02}m"


def clock(seconds: float) -> str:
    """Seconds as 0:48 or 1:02:03."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def money(dollars: Decimal) -> str:
    """Dollars as $0.41; four places below a cent, so that a cost never reads as none."""
    if 0 < dollars < Decimal("0.01"):
        return f"${dollars:.4f}"
    return f"${dollars:.2f}"


def count(number: int) -> str:
    """A count as 950, 38.2k or 1.3M."""
    if number < 1_000:
        return str(number)
    if number < 1_000_000:
        return f"{number / 1_000:.1f}k"
    return f"{number / 1_000_000:.1f}M"
