"""Checks paths inside a project, and opens them without ever leaving the project's folder."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mobvibe_worker.errors import WorkspaceError

NAME_LIMIT = 100
"""The longest name of one file or folder, in bytes of UTF-8."""
DEPTH_LIMIT = 12
_FORBIDDEN = frozenset('\\:*?"<>|%$`~')
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Opens a folder, never through a link."""

Parts = tuple[str, ...]


class MissingFile(WorkspaceError):
    """There is no such file in the project."""

    default_remedy = "List the files to see which there are."


def split_path(path: str) -> Parts:
    """Split a revision's path. A person may name files freely, but WorkspaceError is raised if it leads outside."""
    parts = tuple(path.split("/"))
    if any(part in {"", ".", ".."} or "\x00" in part for part in parts):
        raise WorkspaceError(f"{path!r} is not a path inside the project.")
    return parts


def parse_path(path: str) -> Parts:
    """Split a path that the model gave. Raises WorkspaceError unless it is a plain relative POSIX path."""
    if not path or path.startswith("/"):
        raise WorkspaceError(
            f"{path!r} is not a path inside the project.",
            "Give a path relative to the project, such as components/Card.tsx.",
        )
    parts = tuple(path.split("/"))
    if len(parts) > DEPTH_LIMIT:
        raise WorkspaceError("That path is too deep.", f"Use at most {DEPTH_LIMIT} names.")
    for part in parts:
        _require_plain_name(part)
    return parts


def _require_plain_name(part: str) -> None:
    problem = _problem_of(part)
    if problem is not None:
        shown = part if len(part) <= NAME_LIMIT else f"{part[:NAME_LIMIT]}…"
        raise WorkspaceError(
            f"{shown!r} cannot be used as a name: {problem}.",
            "Use plain names such as components/Card.tsx.",
        )


def _problem_of(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return "every name between slashes must name a file or a folder"
    if not part.isprintable():
        return "it contains control or invisible characters"
    if len(part.encode()) > NAME_LIMIT:
        return f"it is longer than {NAME_LIMIT} bytes"
    if unicodedata.normalize("NFKC", part) != part:
        return "it contains characters that look like others"
    if _FORBIDDEN & set(part):
        return "it contains a character that some systems do not allow"
    if part != part.strip() or part.endswith("."):
        return "it begins or ends with a space, or ends with a dot"
    if part.split(".")[0].lower() in _RESERVED:
        return "some systems reserve it"
    return None


def twin_key(name: str) -> str:
    """A key that is equal for names that some file systems treat as the same."""
    return unicodedata.normalize("NFKC", name).casefold()


@contextmanager
def open_root(root: Path) -> Iterator[int]:
    """Open the project's folder as a descriptor. Raises WorkspaceError if it is missing or a link."""
    try:
        descriptor = os.open(root, FOLDER_FLAGS)
    except OSError as error:
        raise WorkspaceError(
            f"The project's folder cannot be opened: {error.strerror or error}.",
            "Run the job again. It starts from the last revision.",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_parent(
    root: int, parts: Parts, *, make: bool = False, twins: bool = False
) -> Iterator[int]:
    """Open the folder that holds the path's last name, one name at a time and never through a link.

    With `make`, missing folders are created; with `twins`, names that differ only in case are allowed.
    Raises WorkspaceError for links, and for names that are not folders.
    """
    current = os.dup(root)
    try:
        for depth, name in enumerate(parts[:-1], start=1):
            if not twins:
                require_no_twin(current, name)
            following = _open_folder(current, name, "/".join(parts[:depth]), make=make)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def _open_folder(parent: int, name: str, shown: str, *, make: bool) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
    try:
        return os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        raise MissingFile(f"There is no folder {shown}.") from None
    except OSError as error:
        raise WorkspaceError(
            f"{shown} is not a folder of the project.", "List the files to see which there are."
        ) from error


def require_no_twin(folder: int, name: str, *, but: str | None = None) -> None:
    """Raise WorkspaceError if the folder holds a name that differs only in case or in Unicode form."""
    key = twin_key(name)
    for existing in os.listdir(folder):
        if existing not in (name, but) and twin_key(existing) == key:
            raise WorkspaceError(
                f"{name} and {existing} would be the same file on some systems.",
                f"Use {existing}, or rename it first.",
            )


def has_entry(folder: int, name: str) -> bool:
    """Whether the folder holds exactly this name, as a file or anything else."""
    return name in os.listdir(folder)


def stat_file(
    folder: int, name: str, shown: str, *, hard_links: bool = False
) -> os.stat_result | None:
    """The status of a plain file, or None if it does not exist.

    Raises WorkspaceError for anything else: links, folders, devices, pipes and, unless `hard_links` is set,
    files with a second name.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    require_plain_file(status, shown, hard_links=hard_links)
    return status


def require_plain_file(status: os.stat_result, shown: str, *, hard_links: bool = False) -> None:
    """Raise WorkspaceError unless it is a regular file with one name (or more, if `hard_links` is set)."""
    if stat.S_ISDIR(status.st_mode):
        raise WorkspaceError(f"{shown} is a folder.", "Name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise WorkspaceError(f"{shown} is a link or a device.", "Only plain files can be used.")
    if status.st_nlink > 1 and not hard_links:
        raise WorkspaceError(
            f"{shown} is the same file as another one.", "Only files with one name can be used."
        )


def read_bytes(
    folder: int, name: str, shown: str, limit: int, *, hard_links: bool = False
) -> bytes:
    """The content of a plain file of at most `limit` bytes. Raises WorkspaceError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if stat_file(folder, name, shown, hard_links=hard_links) is None:
        raise MissingFile(f"There is no file {shown}.")
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise MissingFile(f"There is no file {shown}.") from None
    except OSError as error:
        raise WorkspaceError(f"{shown} cannot be read: {error.strerror or error}.") from error
    with os.fdopen(descriptor, "rb") as file:
        # Checked again through the open file, as the name may have been swapped for a link in between.
        require_plain_file(os.fstat(descriptor), shown, hard_links=hard_links)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise WorkspaceError(f"{shown} is larger than {limit} bytes.", "Keep files small.")
    return content


def replace_bytes(folder: int, name: str, content: bytes) -> None:
    """Write a file atomically: under another name first, then renamed. Links are never followed.

    Raises WorkspaceError if the folder has been deleted.
    """
    beside = f".mobvibe-{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(beside, flags, 0o644, dir_fd=folder)
    except FileNotFoundError:
        raise WorkspaceError(
            f"The folder of {name} was deleted.", "List the files again."
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(beside, dir_fd=folder)
        raise
