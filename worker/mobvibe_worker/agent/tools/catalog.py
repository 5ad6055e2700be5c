"""The tools that the agent gets."""

from __future__ import annotations

from typing import Any

from mobvibe_worker.agent.tools.changing import DELETE_FILE, EDIT_FILE, RENAME_FILE, WRITE_FILE
from mobvibe_worker.agent.tools.checks import CHECK
from mobvibe_worker.agent.tools.reading import LIST_FILES, READ_FILE, SEARCH_FILES
from mobvibe_worker.agent.tools.tool import Tool


def tool_catalog() -> dict[str, Tool[Any]]:
    """Every tool, sorted by name, as their order is part of what the server caches."""
    tools: tuple[Tool[Any], ...] = (
        CHECK,
        DELETE_FILE,
        EDIT_FILE,
        LIST_FILES,
        READ_FILE,
        RENAME_FILE,
        SEARCH_FILES,
        WRITE_FILE,
    )
    return {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
