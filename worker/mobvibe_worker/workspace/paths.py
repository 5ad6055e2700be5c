"""What a path inside a project may look like, and how to reach it without ever leaving the project's folder."""

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
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Parts = tuple[str, ...]


class MissingFile(WorkspaceError):
    """There is no such file in the project."""

    default_remedy = "List the files to see what there is."


def split_path(path: str) -> Parts:
    """The names of a revision's path: a person may name files freely, but none may lead out of the folder.

    Raises WorkspaceError.
    """
    parts = tuple(path.split("/"))
    if any(part in {"", ".", ".."} or "\x00" in part for part in parts):
        raise WorkspaceError(f"{path!r} is not a path inside the project.")
    return parts


def parse_path(path: str) -> Parts:
    """The names of a relative POSIX path. Raises WorkspaceError for anything that is not plainly one."""
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
    fault = _fault_of(part)
    if fault is not None:
        shown = part if len(part) <= NAME_LIMIT else f"{part[:NAME_LIMIT]}…"
        raise WorkspaceError(
            f"{shown!r} cannot be used as a name: {fault}.",
            "Use plain names such as components/Card.tsx.",
        )


def _fault_of(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return "every name between slashes must name a file or a folder"
    if not part.isprintable():
        return "it holds control or invisible characters"
    if len(part.encode()) > NAME_LIMIT:
        return f"it is longer than {NAME_LIMIT} bytes"
    if unicodedata.normalize("NFKC", part) != part:
        return "it holds characters that look like others"
    if _FORBIDDEN & set(part):
        return "it holds a character that some systems do not allow"
    if part != part.strip() or part.endswith("."):
        return "it begins or ends with a space, or ends with a dot"
    if part.split(".")[0].lower() in _RESERVED:
        return "some systems reserve it"
    return None


def twin_key(name: str) -> str:
    """Equal for names that some file systems hold to be the same."""
    return unicodedata.normalize("NFKC", name).casefold()


@contextmanager
def open_root(root: Path) -> Iterator[int]:
    """A descriptor of the project's folder itself. Raises WorkspaceError where it is gone or a link."""
    try:
        descriptor = os.open(root, _FOLDER_FLAGS)
    except OSError as error:
        raise WorkspaceError(
            f"The project's folder cannot be opened: {error.strerror or error}.",
            "Run the job again; it starts from the last revision.",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_parent(
    root: int, parts: Parts, *, make: bool = False, twins: bool = False
) -> Iterator[int]:
    """A descriptor of the folder that holds the path's last name, reached name by name, never through a link.

    With `make`, missing folders are made; with `twins`, names that differ only in case are let through.
    Raises WorkspaceError for links and what is no folder.
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
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        raise MissingFile(f"There is no folder {shown}.") from None
    except OSError as error:
        raise WorkspaceError(
            f"{shown} is not a folder of the project.", "List the files to see what there is."
        ) from error


def require_no_twin(folder: int, name: str, *, but: str | None = None) -> None:
    """Raise WorkspaceError where the folder holds a name that differs only in case or in Unicode form."""
    key = twin_key(name)
    for existing in os.listdir(folder):
        if existing not in (name, but) and twin_key(existing) == key:
            raise WorkspaceError(
                f"{name} and {existing} would be the same file on some systems.",
                f"Use {existing}, or rename it first.",
            )


def has_entry(folder: int, name: str) -> bool:
    """Whether the folder lists exactly this name, whatever it is."""
    return name in os.listdir(folder)


def stat_file(
    folder: int, name: str, shown: str, *, hard_links: bool = False
) -> os.stat_result | None:
    """The file's own status, or None where there is none.

    Raises WorkspaceError for links, folders, devices, pipes, and, but with `hard_links`, files with a second name.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    require_plain_file(status, shown, hard_links=hard_links)
    return status


def require_plain_file(status: os.stat_result, shown: str, *, hard_links: bool = False) -> None:
    """Raise WorkspaceError unless it is a regular file, and has one name or may have more (`hard_links`)."""
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
        # Looked at again through the open file: the name may have been swapped for a link meanwhile.
        require_plain_file(os.fstat(descriptor), shown, hard_links=hard_links)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise WorkspaceError(f"{shown} is larger than {limit} bytes.", "Keep files small.")
    return content


def replace_bytes(folder: int, name: str, content: bytes) -> None:
    """Write a file beside its final name, then rename it there: never half a file, never through a link.

    Raises WorkspaceError where the folder was deleted meanwhile.
    """
    beside = f".mobvibe-{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(beside, flags, 0o644, dir_fd=folder)
    except FileNotFoundError:
        raise WorkspaceError(f"The folder of {name} is gone.", "List the files again.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(beside, dir_fd=folder)
        raise
