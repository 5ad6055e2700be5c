"""The served folder holds the published revision and never loses the person's edits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.workspace.publish import Edits, ServedFolder
from mobvibe_worker.workspace.tree import ASSET_LIMIT, read_tree
from support.polling import patient

FIRST = {"App.tsx": b"one", "src/a.ts": b"a", "src/deep/b.ts": b"b", ".gitignore": b"x"}
SECOND = {"App.tsx": b"two", "src/c.ts": b"c", "new/deep/d.ts": b"d", ".gitignore": b"x"}

LOOK = """
import sys
from pathlib import Path
from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.workspace.publish import ServedFolder
try:
    print(ServedFolder(Path(sys.argv[1])).edits())
except WorkspaceError as error:
    print(f"WorkspaceError: {error}")
"""
READS_ALL = "-dac_override,-dac_read_search"


@pytest.fixture
def as_nobody() -> list[str]:
    """A command prefix that drops root's rights, so that file modes apply."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if os.environ.get("CI") == "true":
            pytest.fail("setpriv is needed: apt-get install util-linux")
        pytest.skip("needs setpriv (util-linux) if the tests run as root")
    return [setpriv, f"--bounding-set={READS_ALL}", f"--inh-caps={READS_ALL}", "--"]


@pytest.fixture
def served(tmp_path: Path) -> ServedFolder:
    return ServedFolder(tmp_path / "served" / "tips")


def test_a_second_revision_replaces_the_first(served: ServedFolder) -> None:
    assert not served.is_published and served.edits() is None
    served.publish(FIRST, "r1")
    (served.root / "node_modules" / "x").mkdir(parents=True)
    (served.root / ".expo").mkdir()
    served.publish(SECOND, "r2")
    assert read_tree(served.root) == dict(sorted(SECOND.items()))
    assert served.revision == "r2"
    assert served.edits() is None
    assert not (served.root / "src" / "deep").exists()
    assert (served.root / "node_modules" / "x").is_dir() and (served.root / ".expo").is_dir()


def test_the_persons_edits_are_reported_and_not_overwritten(served: ServedFolder) -> None:
    served.publish(FIRST)
    (served.root / "App.tsx").write_bytes(b"mine")
    (served.root / "notes.md").write_bytes(b"note")
    (served.root / "src" / "a.ts").unlink()
    edits = served.edits()
    assert edits == Edits({"App.tsx": b"mine", "notes.md": b"note"}, frozenset({"src/a.ts"}))
    assert served.publish({**SECOND, "src/a.ts": b"a2"}) == ("App.tsx", "src/a.ts")
    assert (served.root / "App.tsx").read_bytes() == b"mine"
    assert served.edits() == edits
    merged = edits.over({**SECOND, "src/a.ts": b"a2"})
    assert served.publish(merged) == ()
    assert served.edits() is None
    assert (served.root / "notes.md").read_bytes() == b"note"
    served.publish(FIRST)
    assert read_tree(served.root) == dict(sorted(FIRST.items()))


def test_an_interrupted_publish_is_finished_by_the_next(served: ServedFolder) -> None:
    served.publish(FIRST)
    (served.root / "zz").mkdir()
    with pytest.raises(WorkspaceError):
        served.publish({**SECOND, "zz": b"a folder is in the way"})
    assert (served.root / "src" / "c.ts").exists() and served.revision is None
    assert served.edits() is None
    served.publish(FIRST)
    assert read_tree(served.root) == dict(sorted(FIRST.items()))


def test_no_path_or_link_leads_out_of_the_folder(served: ServedFolder, tmp_path: Path) -> None:
    for path in ("../out.ts", "/out.ts", ".expo/out.ts", "node_modules/x.js", "a/../../out.ts"):
        with pytest.raises(WorkspaceError):
            served.publish({path: b""})
    outside = tmp_path / "outside"
    outside.mkdir()
    served.publish(FIRST)
    (served.root / "link").symlink_to(outside)
    with pytest.raises(WorkspaceError):
        served.publish({**FIRST, "link/out.ts": b""})
    (served.root / "App.tsx").unlink()
    (served.root / "App.tsx").symlink_to(outside / "App.tsx")
    served.publish(FIRST)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["App.tsx~", "my notes.md", "$a.ts", "e\u0301.ts", "n" * 200 + ".ts", "A/x.ts", "con.ts"],
)
def test_a_persons_file_of_any_name_is_published_and_can_be_removed(
    served: ServedFolder, name: str
) -> None:
    first = {**FIRST, "a/x.ts": b"x"}
    served.publish(first)
    (served.root / name).parent.mkdir(exist_ok=True)
    (served.root / name).write_bytes(b"theirs")
    edits = served.edits()
    assert edits is not None and edits.changed == {name: b"theirs"}
    assert served.publish(edits.over(first)) == () and served.edits() is None
    served.publish(first)
    assert not (served.root / name).exists() and (served.root / "a/x.ts").exists()


def test_a_deletion_is_noticed_even_after_a_failed_publish(served: ServedFolder) -> None:
    served.publish(FIRST)
    (served.root / "theirs.ts").write_bytes(b"theirs")
    (served.root / "zz").mkdir()
    with pytest.raises(WorkspaceError):
        served.publish({**FIRST, "theirs.ts": b"theirs", "new.ts": b"n", "zz": b"in the way"})
    assert served.edits() is None
    (served.root / "theirs.ts").unlink()
    (served.root / "new.ts").unlink()
    assert served.edits() == Edits({}, frozenset({"theirs.ts", "new.ts"}))


def test_unreadable_edits_are_not_deletions_and_do_not_affect_others(
    served: ServedFolder, tmp_path: Path
) -> None:
    served.publish({**FIRST, "linked.ts": b"l", "large.png": b"p"})
    os.link(served.root / "App.tsx", tmp_path / "second name")
    (served.root / "linked.ts").unlink()
    (served.root / "linked.ts").symlink_to(tmp_path / "second name")
    (served.root / "src").rename(tmp_path / "src")
    (served.root / "src").symlink_to(tmp_path / "src")
    (served.root / "large.png").write_bytes(bytes(ASSET_LIMIT + 1))
    assert served.edits() is None
    (served.root / "notes.md").write_bytes(b"note")
    edits = served.edits()
    assert edits == Edits({"notes.md": b"note"}, frozenset())
    assert "large.png" in served.publish({**FIRST, "large.png": b"p2", "notes.md": b"note"})
    assert (served.root / "large.png").stat().st_size > ASSET_LIMIT


def test_an_unreadable_folder_is_reported(served: ServedFolder, as_nobody: list[str]) -> None:
    served.publish(FIRST)
    (served.root / "src").chmod(0)
    try:
        answer = subprocess.run(
            [*as_nobody, sys.executable, "-c", LOOK, str(served.root)],
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(60),
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.startswith("WorkspaceError: src cannot be read")
    finally:
        (served.root / "src").chmod(0o755)
