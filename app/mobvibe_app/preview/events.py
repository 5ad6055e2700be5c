"""What a preview's Metro says of phones, builds and the running app: lines of its log as safe values."""

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
    Came,
    PreviewEvent,
    Said,
    Went,
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
    """Node's arguments that make a Metro speak of what happens in it, in lines that begin with `mark`.

    They also make it watch the project alone. The programs travel in the arguments themselves, so that a container
    needs neither a mount nor a layer for them.
    """
    watch = Path(__file__).with_name("watch.mjs").read_text(encoding="utf-8")
    project = _REQUIRE + WATCH_PROJECT.read_text(encoding="utf-8")
    sources = (watch.replace(_MARK_PLACE, mark), project)
    return tuple(word for source in sources for word in ("--import", _data_url(source)))


def _data_url(source: str) -> str:
    return f"data:text/javascript;base64,{base64.b64encode(source.encode()).decode()}"


def new_mark() -> str:
    """A mark that nothing else in a log begins with."""
    return f"@{secrets.token_hex(4)} "


def printed_lines(log: str) -> list[str]:
    """The lines of a preview's log without the event lines, whatever their mark."""
    return [line for line in log.splitlines() if not _EVENT_LINE.match(line)]


def parse_event(line: str, mark: str) -> PreviewEvent | None:
    """The event of one line of the log; None for every other line, and for one of an unknown shape."""
    if not line.startswith(mark):
        return None
    try:
        told = json.loads(line[len(mark) :])
        return _event(told, float(told["at"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _event(told: dict[str, Any], at: float) -> PreviewEvent | None:
    match told["is"]:
        case "asked" if told["what"] in ("manifest", "bundle", "page"):
            return Asked(at, told["what"], _name(told["platform"]), _name(told["from"]))
        case "bundled":
            platform, address = _name(told["platform"]), _name(told["from"])
            return Bundled(at, platform, float(told["seconds"]), address)
        case "building":
            return Building(at, int(told["done"]), int(told["total"]))
        case "built":
            return Built(at)
        case "broken":
            line = told["line"]
            return Broken(
                at,
                _name(told["platform"]),
                clean_text(str(told["message"]), TEXT_LIMIT).strip(),
                _name(told["file"]),
                line if isinstance(line, int) else None,
            )
        case "said":
            level = told["level"] if told["level"] in _LEVELS else "log"
            return Said(at, level, clean_text(str(told["text"]), TEXT_LIMIT).strip())
        case "came":
            return Came(at, int(told["number"]), _name(told["from"]))
        case "went":
            return Went(at, int(told["number"]))
    return None


def _name(value: object) -> str:
    """Node writes IPv4 addresses as IPv6 ones."""
    return " ".join(clean_text(str(value), NAME_LIMIT).split()).removeprefix("::ffff:")
