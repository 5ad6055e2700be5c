"""Edits text with plain newlines and no byte order mark; both are restored when the file is written."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from mobvibe_worker.errors import WorkspaceError

_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class EditedText:
    """A text with plain newlines, and what is restored when it is written."""

    text: str
    has_crlf: bool = False
    has_mark: bool = False


def decode(path: str, content: bytes) -> EditedText:
    """The text of a file. Raises WorkspaceError if it is not UTF-8 text."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        raise WorkspaceError(f"{path} is not a text file.", "Leave it as it is, or delete it.")
    has_mark = text.startswith(_MARK)
    crlf = text.count("\r\n")
    return EditedText(
        text.removeprefix(_MARK).replace("\r\n", "\n"),
        has_crlf=crlf * 2 > text.count("\n"),
        has_mark=has_mark,
    )


def encode(path: str, text: str, *, like: EditedText | None) -> bytes:
    """The bytes of a text, with the line endings and the mark of `like`. Raises WorkspaceError for lone surrogates."""
    if like is not None and like.has_crlf:
        text = text.replace("\n", "\r\n")
    if like is not None and like.has_mark:
        text = _MARK + text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise WorkspaceError(
            f"The text for {path} contains half a character.", "Write plain text."
        ) from None


def replace_once(path: str, text: str, old: str, new: str) -> str:
    """Replace the only occurrence of `old`. Raises WorkspaceError if there is none or more than one."""
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if not old:
        raise WorkspaceError("old_text is empty.", "Give the text to replace.")
    if old == new:
        raise WorkspaceError("old_text and new_text are equal.", "Give a different new_text.")
    places = text.count(old)
    if places == 0:
        raise WorkspaceError(
            f"old_text was not found in {path}.", f"{_nearest(text, old)}Copy it exactly."
        )
    if places > 1:
        raise WorkspaceError(
            f"old_text occurs {places} times in {path} (lines {_lines_of(text, old)}).",
            "Give more of the surrounding lines, so that it is unique.",
        )
    return text.replace(old, new, 1)


def _lines_of(text: str, old: str) -> str:
    lines: list[str] = []
    start = text.find(old)
    while start >= 0 and len(lines) < 10:
        lines.append(str(text.count("\n", 0, start) + 1))
        start = text.find(old, start + len(old))
    return ", ".join(lines)


def _nearest(text: str, old: str) -> str:
    first = next((line.strip() for line in old.split("\n") if line.strip()), "")[:200]
    lines = {line.strip()[:200]: n for n, line in reversed(list(enumerate(text.split("\n"), 1)))}
    near = difflib.get_close_matches(first, list(lines)[:2_000], n=1)
    return f"The nearest line is {lines[near[0]]}: {near[0]!r}. " if near else ""


def count_changed_lines(before: str | None, after: str | None) -> tuple[int, int]:
    old = (before or "").splitlines()
    new = (after or "").splitlines()
    added = removed = 0
    for kind, a0, a1, b0, b1 in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if kind != "equal":
            removed += a1 - a0
            added += b1 - b0
    return added, removed
