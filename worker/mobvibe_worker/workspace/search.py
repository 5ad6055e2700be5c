"""Finds text in a project's files. Regular expressions run in a child process that can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import WorkspaceError

MATCH_LIMIT = 200
LINE_LIMIT = 400
"""The longest part of a matching line that is shown, characters."""
SECONDS_LIMIT = 5.0
PATTERN_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Match:
    """One matching line. `line` is its number, from 1."""

    path: str
    line: int
    text: str


def find_literal(texts: Mapping[str, str], pattern: str) -> tuple[Match, ...]:
    """The lines that contain exactly this text. Raises WorkspaceError for an empty or very long pattern."""
    _require_pattern(pattern)
    matches: list[Match] = []
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if pattern in line:
                matches.append(Match(path, number, line[:LINE_LIMIT]))
                if len(matches) == MATCH_LIMIT:
                    return tuple(matches)
    return tuple(matches)


def find_regex(
    texts: Mapping[str, str], pattern: str, seconds: float = SECONDS_LIMIT
) -> tuple[Match, ...]:
    """The lines that match. Raises WorkspaceError if the pattern is invalid or takes longer than `seconds`.

    A child process is used because `re` blocks the interpreter while it backtracks, and cannot be interrupted.
    """
    _require_pattern(pattern)
    child = [sys.executable, "-I", "-S", str(Path(__file__).with_name("regex_child.py"))]
    request = {
        "pattern": pattern,
        "texts": dict(texts),
        "matches": MATCH_LIMIT,
        "line": LINE_LIMIT,
    }
    try:
        finished = subprocess.run(
            child,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=seconds,
            check=False,
            env={},
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise WorkspaceError(
            f"That expression took longer than {seconds:g} s.", "Search for a plain text instead."
        ) from None
    if finished.returncode != 0:
        raise WorkspaceError("The search failed.", "Search for a plain text instead.")
    answer = json.loads(finished.stdout)
    if "error" in answer:
        raise WorkspaceError(
            f"That is not a regular expression: {answer['error']}.",
            "Correct it, or search for a plain text.",
        )
    return tuple(Match(path, line, text) for path, line, text in answer["matches"])


def _require_pattern(pattern: str) -> None:
    if not pattern or len(pattern) > PATTERN_LIMIT:
        raise WorkspaceError(
            f"The pattern is empty or longer than {PATTERN_LIMIT} characters.",
            "Search for a short text.",
        )
