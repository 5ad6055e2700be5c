"""No path leads out of the staged folder, whatever a hostile model tries, and ordinary work succeeds."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.workspace.staged import TEXT_LIMIT, StagedFolder
from support.polling import patient

SECRET = "outside and secret"
BAD_PATHS = [
    *("", ".", "/", "..", "../x.ts", "a/../../x.ts", "a/./x.ts", "a//x.ts", "/etc/passwd"),
    *("//etc/passwd", "~/.ssh/id_rsa", "$HOME/x.ts", "file:///etc/passwd", "%2e%2e/x.ts"),
    *("..\\x.ts", "C:\\x.ts", "c:x.ts", "x.ts\x00.png", "a\nb.ts", "a\x1b[31m.ts", "a\rb.ts"),
    *("n" * 300 + ".ts", "/".join(["deep"] * 1000), "x.ts ", " x.ts", "x.ts.", "a/", "a /x.ts"),
    *(
        "\uff0e\uff0e/x.ts",
        "a\u202etxt.ts",
        "a\u200bb.ts",
        "\ud800.ts",
        "cafe\u0301.ts",
        "\ufb01le.ts",
    ),
    *("CON", "nul.ts", "com1.tsx", "a|b.ts", 'a"b.ts', "a*.ts", "a?.ts", "`id`.ts"),
]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.ts").write_text(SECRET)
    return folder


@pytest.fixture
def staged(tmp_path: Path, outside: Path) -> StagedFolder:
    root = tmp_path / "staged"
    root.mkdir()
    return StagedFolder(root)


def everything(staged: StagedFolder, path: str) -> list[Callable[[], object]]:
    """Every operation that takes a path."""
    return [
        lambda: staged.read(path),
        lambda: staged.write(path, "x"),
        lambda: staged.edit(path, SECRET, "x"),
        lambda: staged.delete(path),
        lambda: staged.rename(path, "moved.ts"),
        lambda: staged.rename("fine.ts", path),
    ]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: ascii(path)[:24])
def test_no_operation_accepts_a_bad_path(staged: StagedFolder, path: str) -> None:
    staged.write("fine.ts", "fine")
    before = sorted(staged.root.parent.rglob("*"))
    for use in everything(staged, path):
        with pytest.raises(WorkspaceError):
            use()
    assert sorted(staged.root.parent.rglob("*")) == before


def make_file_link(root: Path, outside: Path) -> str:
    (root / "link.ts").symlink_to(outside / "secret.ts")
    return "link.ts"


def make_folder_link(root: Path, outside: Path) -> str:
    (root / "folder").symlink_to(outside)
    return "folder/secret.ts"


def make_dangling_link(root: Path, outside: Path) -> str:
    (root / "dangling.ts").symlink_to(outside / "not-there.ts")
    return "dangling.ts"


def make_loop(root: Path, outside: Path) -> str:
    (root / "loop").symlink_to("loop")
    return "loop/x.ts"


def make_hard_link(root: Path, outside: Path) -> str:
    os.link(outside / "secret.ts", root / "hard.ts")
    return "hard.ts"


def make_pipe(root: Path, outside: Path) -> str:
    os.mkfifo(root / "pipe.ts")
    return "pipe.ts"


def make_socket(root: Path, outside: Path) -> str:
    here = os.open(".", os.O_RDONLY)
    os.chdir(root)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.ts")
    finally:
        os.fchdir(here)
        os.close(here)
    return "socket.ts"


def make_folder(root: Path, outside: Path) -> str:
    (root / "folder.ts").mkdir()
    return "folder.ts"


def make_file_as_folder(root: Path, outside: Path) -> str:
    (root / "file.ts").write_text("x")
    return "file.ts/x.ts"


@pytest.mark.parametrize(
    "make",
    [
        make_file_link,
        make_folder_link,
        make_dangling_link,
        make_loop,
        make_hard_link,
        make_pipe,
        make_socket,
        make_folder,
        make_file_as_folder,
    ],
)
def test_only_regular_files_are_accepted(
    staged: StagedFolder, outside: Path, make: Callable[[Path, Path], str]
) -> None:
    (staged.root / "fine.ts").write_text("fine")
    path = make(staged.root, outside)
    for use in everything(staged, path):
        with pytest.raises(WorkspaceError):
            use()
    assert (outside / "secret.ts").read_text() == SECRET
    assert sorted(entry.name for entry in outside.iterdir()) == ["secret.ts"]
    assert SECRET.encode() not in staged.snapshot().values()
    assert staged.search(SECRET) == ()


def test_a_link_swapped_in_between_check_and_use_is_not_followed(
    staged: StagedFolder, outside: Path
) -> None:
    inside = staged.root / "folder"
    aside = staged.root.parent / "aside"
    swapped = staged.root.parent / "link"
    swapped.symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        # A writer may recreate the folder while it is moved away, so the moved one is deleted.
        while not stop.is_set():
            shutil.rmtree(aside, ignore_errors=True)
            for source, target in (
                (inside, aside),
                (swapped, inside),
                (inside, swapped),
                (aside, inside),
            ):
                with suppress(OSError):
                    source.rename(target)

    inside.mkdir()
    (inside / "secret.ts").write_text("inside")
    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[str] = set()
    writes = 0
    deadline = time.monotonic() + 1.5
    try:
        while time.monotonic() < deadline:
            try:
                seen.add(staged.read("folder/secret.ts"))
                staged.write("folder/secret.ts", "inside")
                writes += 1
            except WorkspaceError:
                continue
    finally:
        stop.set()
        swapper.join()
    assert seen == {"inside"} and writes > 0
    assert (outside / "secret.ts").read_text() == SECRET


def test_a_folder_that_is_a_link_or_was_replaced_is_refused(
    staged: StagedFolder, outside: Path
) -> None:
    link = staged.root.parent / "link"
    link.symlink_to(outside)
    with pytest.raises(WorkspaceError):
        StagedFolder(link)
    staged.root.rmdir()
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        staged.list()
    outside.rename(staged.root)
    with pytest.raises(WorkspaceError, match="replaced"):
        staged.write("x.ts", "x")


@pytest.mark.parametrize("twin", ["app.tsx", "APP.tsx", "Cards/one.tsx"])
def test_names_that_differ_only_in_case_are_refused(staged: StagedFolder, twin: str) -> None:
    staged.write("App.tsx", "x")
    staged.write("cards/two.tsx", "x")
    with pytest.raises(WorkspaceError, match="the same file on some systems"):
        staged.write(twin, "x")
    with pytest.raises(WorkspaceError):
        staged.rename("cards/two.tsx", twin)


def test_a_file_can_be_renamed_to_another_case(staged: StagedFolder) -> None:
    staged.write("app.tsx", "x")
    staged.rename("app.tsx", "App.tsx")
    assert [entry.path for entry in staged.list()] == ["App.tsx"]


def test_sizes_are_bounded(staged: StagedFolder) -> None:
    with pytest.raises(WorkspaceError, match="larger than"):
        staged.write("big.ts", "x" * (TEXT_LIMIT + 1))
    with (staged.root / "sparse.ts").open("wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(WorkspaceError, match="larger than"):
        staged.read("sparse.ts")


def test_parallel_writes_leave_one_complete_file(staged: StagedFolder) -> None:
    texts = [letter * 100_000 for letter in "abcdef"]
    threads = [
        threading.Thread(target=staged.write, args=("x.ts", text), kwargs={"replaces_all": True})
        for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert staged.read("x.ts") in texts
    assert [file.name for file in staged.root.iterdir()] == ["x.ts"]


def test_deleting_and_moving_leaves_no_empty_folder(staged: StagedFolder) -> None:
    staged.write("a/b/c.ts", "one\ntwo\n")
    with pytest.raises(WorkspaceError, match="exists already"):
        staged.write("d.ts", "x")
        staged.rename("d.ts", "a/b/c.ts")
    written = staged.rename("a/b/c.ts", "e/f.ts")
    assert (written.path, written.after) == ("e/f.ts", "one\ntwo\n")
    staged.delete("e/f.ts")
    assert [file.name for file in staged.root.iterdir()] == ["d.ts"]


def test_search_finds_text_and_expressions_and_refuses_invalid_ones(staged: StagedFolder) -> None:
    staged.write("a.ts", "const a = 1;\nconst b = a.b;\n")
    assert [(match.path, match.line) for match in staged.search("a.b")] == [("a.ts", 2)]
    assert [match.line for match in staged.search(r"\ba\b", is_regex=True)] == [1, 2]
    with pytest.raises(WorkspaceError, match="not a regular expression"):
        staged.search("(", is_regex=True)


def test_an_endless_expression_is_stopped() -> None:
    from mobvibe_worker.workspace.search import find_regex

    started = time.monotonic()
    with pytest.raises(WorkspaceError, match="took longer"):
        find_regex({"a.ts": "a" * 60 + "!"}, "(a+)+$", seconds=0.5)
    assert time.monotonic() - started < patient(5)


def test_a_restore_brings_back_exactly_the_tree(staged: StagedFolder) -> None:
    staged.write("a.ts", "1")
    staged.write("b/c.ts", "2")
    tree = staged.snapshot()
    staged.write("a.ts", "changed")
    staged.delete("b/c.ts")
    staged.write("new/d.ts", "3")
    staged.restore(tree)
    assert staged.snapshot() == tree == {"a.ts": b"1", "b/c.ts": b"2"}
    assert not (staged.root / "new").exists()
