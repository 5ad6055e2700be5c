"""The served folder shows the revision, and never takes the person's work away."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.workspace.publish import Edits, ServedFolder
from mobvibe_worker.workspace.tree import read_tree

FIRST = {"App.tsx": b"one", "src/a.ts": b"a", "src/deep/b.ts": b"b", ".gitignore": b"x"}
SECOND = {"App.tsx": b"two", "src/c.ts": b"c", "new/deep/d.ts": b"d", ".gitignore": b"x"}


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


def test_the_persons_edits_are_told_and_not_overwritten(served: ServedFolder) -> None:
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


def test_a_publish_that_was_killed_is_finished_by_the_next(served: ServedFolder) -> None:
    served.publish(FIRST)
    (served.root / "zz").mkdir()
    with pytest.raises(WorkspaceError):
        served.publish({**SECOND, "zz": b"a folder is in the way"})
    assert (served.root / "src" / "c.ts").exists() and served.revision is None
    assert served.edits() is None
    served.publish(FIRST)
    assert read_tree(served.root) == dict(sorted(FIRST.items()))


def test_no_path_and_no_link_leads_out(served: ServedFolder, tmp_path: Path) -> None:
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
