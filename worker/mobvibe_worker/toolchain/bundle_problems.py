"""Turns Metro's answer to a bundle that does not compile into problems: file, line, column and one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from mobvibe_worker.revisions import Problem
from mobvibe_worker.sanitize import clean_text

_MESSAGE_LIMIT = 600
_FRAME_LINE = re.compile(r"^\s*>\s*(\d{1,9}) \|", re.MULTILINE)
_FRAME_CARET = re.compile(r"^\s*\|(\s*)\^", re.MULTILINE)
_PLACE = re.compile(r"\s*\((\d{1,9}):(\d{1,9})\)\s*$")


def parse_problems(body: bytes, root: PurePath) -> tuple[Problem, ...]:
    """The problems in Metro's error, at least one, with paths relative to the project at `root`."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        error = None
    if not isinstance(error, dict):
        text = _clean(body.decode(errors="replace"), root).strip()
        return (Problem(text[:_MESSAGE_LIMIT] or "Metro gave no reason."),)
    if error.get("type") == "UnableToResolveError":
        return (_unresolved(error, root),)
    return (_failed(error, root),)


def _unresolved(error: Mapping[str, Any], root: PurePath) -> Problem:
    message = _clean(str(error.get("message", "")), root)
    target = _clean(str(error.get("targetModuleName", "")), root)
    is_relative = target.startswith(".")
    reason = "no such file" if is_relative else "no such package in this project"
    line = _FRAME_LINE.search(message)
    return Problem(
        f"Unable to resolve '{target}': {reason}.",
        _clean(str(error.get("originModulePath", "")), root) or None,
        int(line[1]) if line else None,
        _column_of(message),
    )


def _column_of(message: str) -> int | None:
    """The column of the code frame's caret, from 1."""
    caret = _FRAME_CARET.search(message)
    return len(caret[1]) if caret else None


def _failed(error: Mapping[str, Any], root: PurePath) -> Problem:
    text = _clean(str(error.get("message", "")), root)
    first = text.strip().split("\n", 1)[0].removeprefix("Error: ").removeprefix("SyntaxError: ")
    path = _clean(str(error.get("filename") or error.get("originModulePath") or ""), root) or None
    line, column = _number(error.get("lineNumber")), _number(error.get("column"))
    if path is not None:
        first = first.removeprefix(f"{path}: ")
    if place := _PLACE.search(first):
        line, column = int(place[1]), int(place[2])
        first = first[: place.start()]
    return Problem(
        first[:_MESSAGE_LIMIT] or "It does not compile.",
        path,
        line,
        None if column is None else column + 1,
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _clean(text: str, root: PurePath) -> str:
    return clean_text(text).replace(f"{root}/", "").replace(str(root), ".")
