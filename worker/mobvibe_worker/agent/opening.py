"""The texts that frame a conversation: the system prompt, the first message and the program's own replies."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from mobvibe_worker.agent.model import Block
from mobvibe_worker.workspace.staged import StagedFolder

MOST_FILES_NAMED = 200

CUT_OFF = (
    "Your answer was cut off at the length limit, so this call was not carried out. "
    "Write smaller pieces: one file at a time, long files split into several."
)
CUT_OFF_TEXT = "Your answer was cut off at the length limit. Go on in smaller pieces."
NOT_RUN = "You ended your turn, so this call was not carried out. Make it again if you need it."
START_OVER = (
    "This is a fresh conversation: the one before became too long. "
    "What you wrote so far is in the files. Read them, and finish the work."
)


def load_system_prompt() -> str:
    """The system prompt. Its bytes are the same for every job, so that the server can cache it."""
    return files("mobvibe_worker.agent").joinpath("prompts/system.md").read_text("utf-8")


def opening_message(prompt: str, staged: StagedFolder, sdk: int, note: str = "") -> list[Block]:
    """The first message: facts about the project, then the person's prompt, then `note`."""
    entries = staged.list()
    lines = [f"- {entry.path} ({entry.size} bytes)" for entry in entries[:MOST_FILES_NAMED]]
    if len(entries) > MOST_FILES_NAMED:
        lines.append(f"- and {len(entries) - MOST_FILES_NAMED} more: use list_files")
    facts = "\n".join(
        [
            f"<project>\nExpo SDK {sdk}, opened in Expo Go. The packages are fixed:",
            *(f"- {package}" for package in _packages(staged)),
            "\nThe files:",
            *lines,
            "</project>",
        ]
    )
    asked = f"<request>\n{prompt}\n</request>"
    return [{"type": "text", "text": text} for text in (facts, asked, note) if text]


def _packages(staged: StagedFolder) -> list[str]:
    if all(entry.path != "package.json" for entry in staged.list()):
        return []
    try:
        manifest: Any = json.loads(staged.read("package.json"))
        dependencies = manifest.get("dependencies", {})
        return [f"{name} {version}" for name, version in sorted(dependencies.items())]
    except (ValueError, RecursionError, AttributeError):
        return []
