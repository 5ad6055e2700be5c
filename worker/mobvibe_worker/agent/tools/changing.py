"""Tools that change files: write_file, edit_file, delete_file, rename_file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mobvibe_worker.agent.tools.tool import Tool, ToolInput, ToolOutcome, Workbench
from mobvibe_worker.events import FileChange
from mobvibe_worker.workspace.editing import count_changed_lines
from mobvibe_worker.workspace.staged import Written

_Path = Annotated[str, Field(description="Path relative to the project")]


class WriteFile(ToolInput):
    """A whole file."""

    path: _Path
    content: Annotated[str, Field(description="The whole content of the file")]
    replaces_all: Annotated[
        bool, Field(description="Confirms that an existing file may shrink by more than half")
    ] = False


class EditFile(ToolInput):
    """One replacement."""

    path: _Path
    old_text: Annotated[str, Field(description="Text that stands in the file exactly once")]
    new_text: Annotated[str, Field(description="What replaces it")]


class DeleteFile(ToolInput):
    """Which file."""

    path: _Path


class RenameFile(ToolInput):
    """From where to where."""

    path: _Path
    new_path: Annotated[str, Field(description="A path where there is no file yet")]


def _outcome(written: Written) -> ToolOutcome:
    added, removed = count_changed_lines(written.before, written.after)
    if written.before == written.after:
        return ToolOutcome(f"{written.path} holds exactly that already.")
    verb, change = (
        ("Created", "created")
        if written.before is None
        else ("Deleted", "deleted")
        if written.after is None
        else ("Changed", "modified")
    )
    event = FileChange(written.path, change, added, removed)  # type: ignore[arg-type]
    return ToolOutcome(f"{verb} {written.path} (+{added} -{removed} lines).", events=(event,))


async def _write(given: WriteFile, bench: Workbench) -> ToolOutcome:
    return _outcome(bench.staged.write(given.path, given.content, replaces_all=given.replaces_all))


async def _edit(given: EditFile, bench: Workbench) -> ToolOutcome:
    return _outcome(bench.staged.edit(given.path, given.old_text, given.new_text))


async def _delete(given: DeleteFile, bench: Workbench) -> ToolOutcome:
    return _outcome(bench.staged.delete(given.path))


async def _rename(given: RenameFile, bench: Workbench) -> ToolOutcome:
    bench.staged.rename(given.path, given.new_path)
    event = FileChange(given.new_path, "renamed", origin=given.path)
    return ToolOutcome(f"Renamed {given.path} to {given.new_path}.", events=(event,))


WRITE_FILE = Tool(
    "write_file",
    "Makes a file with this content, or replaces all of an existing one. Always give the whole file, "
    "never a placeholder for code that you leave out. For a small change use edit_file.",
    WriteFile,
    _write,
)
EDIT_FILE = Tool(
    "edit_file",
    "Replaces one place of a file. old_text must stand in the file exactly once, "
    "with the same white space; give enough lines around it.",
    EditFile,
    _edit,
)
DELETE_FILE = Tool("delete_file", "Deletes one file of the project.", DeleteFile, _delete)
RENAME_FILE = Tool(
    "rename_file",
    "Moves a file of the project. Imports of it are not changed; change them too.",
    RenameFile,
    _rename,
)
