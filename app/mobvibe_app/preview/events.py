"""Reads the events of phones, builds and the running app from the lines of a preview's log, as safe values."""

from __future__ import annotations

import base64
import json
import re
import secrets
from pathlib import Path
from typing import Any

from mobvibe_app.preview.facts import (
    Asked,
    Broken,
    Building,
    Built,
    Bundled,
    ConsoleLine,
    PhoneConnected,
    PhoneDisconnected,
    PreviewEvent,
)
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.toolchain.metro import WATCH_PROJECT

TEXT_LIMIT = 4_000
NAME_LIMIT = 200
_LEVELS = frozenset({"log", "info", "warn", "error", "debug", "trace"})
_EVENT_LINE = re.compile(r"@[0-9a-f]{8} \{")
_MARK_PLACE = "__MARK__"
_REQUIRE = (
    "import { createRequire } from 'node:module';\nconst require = createRequire('file:///');\n"
)


def watch_arguments(mark: str) -> tuple[str, ...]:
    """Arguments for Node that make Metro print events, in lines that begin with `mark`, and watch only the project.

    The programs are in the arguments themselves, so that a container needs neither a mount nor a layer for them.
    """
    watch = Path(__file__).with_name("watch.mjs").read_text(encoding="utf-8")
    project = _REQUIRE + WATCH_PROJECT.read_text(encoding="utf-8")
    sources = (watch.replace(_MARK_PLACE, mark), project)
    return tuple(word for source in sources for word in ("--import", _data_url(source)))


def _data_url(source: str) -> str:
    return f"data:text/javascript;base64,{base64.b64encode(source.encode()).decode()}"


def new_mark() -> str:
    """A mark with which no other line of a log begins."""
    return f"@{secrets.token_hex(4)} "


def printed_lines(log: str) -> list[str]:
    """The lines of a preview's log without the event lines, whatever their mark."""
    return [line for line in log.splitlines() if not _EVENT_LINE.match(line)]


def parse_event(line: str, mark: str) -> PreviewEvent | None:
    """The event of one line of the log; None for all other lines, and for events of an unknown shape."""
    if not line.startswith(mark):
        return None
    try:
        data = json.loads(line[len(mark) :])
        return _event(data, float(data["at"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _event(data: dict[str, Any], at: float) -> PreviewEvent | None:
    match data["is"]:
        case "asked" if data["what"] in ("manifest", "bundle", "page"):
            return Asked(at, data["what"], _name(data["platform"]), _name(data["from"]))
        case "bundled":
            platform, address = _name(data["platform"]), _name(data["from"])
            return Bundled(at, platform, float(data["seconds"]), address)
        case "building":
            return Building(at, int(data["done"]), int(data["total"]))
        case "built":
            return Built(at)
        case "broken":
            line = data["line"]
            return Broken(
                at,
                _name(data["platform"]),
                clean_text(str(data["message"]), TEXT_LIMIT).strip(),
                _name(data["file"]),
                line if isinstance(line, int) else None,
            )
        case "said":
            level = data["level"] if data["level"] in _LEVELS else "log"
            return ConsoleLine(at, level, clean_text(str(data["text"]), TEXT_LIMIT).strip())
        case "came":
            return PhoneConnected(at, int(data["number"]), _name(data["from"]))
        case "went":
            return PhoneDisconnected(at, int(data["number"]))
    return None


def _name(value: object) -> str:
    """One clean line, with an IPv4 address that Node wrote as an IPv6 one restored."""
    return " ".join(clean_text(str(value), NAME_LIMIT).split()).removeprefix("::ffff:")
