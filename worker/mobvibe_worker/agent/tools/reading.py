"""Tools that read: list_files, read_file, search_files."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from mobvibe_worker.agent.tools.tool import Tool, ToolInput, ToolOutcome, Workbench
from mobvibe_worker.workspace.search import MATCH_LIMIT

READ_LIMIT = 60_000
"""The most characters of a file in one result."""


class ListFiles(ToolInput):
    """No input."""


class ReadFile(ToolInput):
    """Which file, from which line."""

    path: Annotated[str, Field(description="Path relative to the project, such as App.tsx")]
    from_line: Annotated[int, Field(ge=1, description="First line to show, from 1")] = 1


class SearchFiles(ToolInput):
    """What to look for."""

    pattern: Annotated[str, Field(description="Text to look for, within one line")]
    is_regex: Annotated[bool, Field(description="The pattern is a regular expression")] = False


async def _list(given: ListFiles, bench: Workbench) -> ToolOutcome:
    entries = bench.staged.list()
    if not entries:
        return ToolOutcome("The project has no files yet.")
    return ToolOutcome("\n".join(f"{entry.path} ({entry.size} bytes)" for entry in entries))


async def _read(given: ReadFile, bench: Workbench) -> ToolOutcome:
    lines = bench.staged.read(given.path).split("\n")
    if given.from_line > len(lines):
        return ToolOutcome(f"{given.path} has only {len(lines)} lines.", is_error=True)
    text = "\n".join(lines[given.from_line - 1 :])
    if len(text) <= READ_LIMIT:
        return ToolOutcome(text or "(the file is empty)")
    shown = text[:READ_LIMIT].rpartition("\n")[0] or text[:READ_LIMIT]
    following = given.from_line + shown.count("\n") + 1
    return ToolOutcome(f"{shown}\n[cut; go on with from_line: {following}]")


async def _search(given: SearchFiles, bench: Workbench) -> ToolOutcome:
    matches = await asyncio.to_thread(bench.staged.search, given.pattern, is_regex=given.is_regex)
    if not matches:
        return ToolOutcome("No line holds that.")
    lines = [f"{match.path}:{match.line}: {match.text}" for match in matches]
    if len(lines) == MATCH_LIMIT:
        lines.append(f"[only the first {MATCH_LIMIT} lines]")
    return ToolOutcome("\n".join(lines))


LIST_FILES = Tool(
    "list_files",
    "Lists every file of the project with its size.",
    ListFiles,
    _list,
    reads_only=True,
)
READ_FILE = Tool(
    "read_file",
    "Shows a text file of the project. Read a file before you change it.",
    ReadFile,
    _read,
    reads_only=True,
)
SEARCH_FILES = Tool(
    "search_files",
    "Shows the lines of the project's files that hold a text, as path:line: text.",
    SearchFiles,
    _search,
    reads_only=True,
)
