"""A project's files as one value, a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.workspace.tree import fingerprint, is_versioned, merge, read_tree, write_tree


def test_a_written_tree_reads_back_unchanged(tmp_path: Path) -> None:
    tree = {
        "App.tsx": b"x",
        "assets/icon.png": b"\x89PNG\x00",
        ".gitignore": b"node_modules/\n",
        "assets/a person's photo~1 (50%).png": b"photo",
        "Übersicht/ä.ts": b"",
    }
    write_tree(tree, tmp_path)
    assert read_tree(tmp_path) == tree


def test_a_tree_holds_no_packages_caches_secrets_or_links(tmp_path: Path) -> None:
    write_tree({"App.tsx": b"x", "src/ios/b.ts": b"y"}, tmp_path)
    for path in ("node_modules/a/b.js", ".expo/c", ".git/config", "expo-env.d.ts", ".env", "ios/d"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("not kept")
        assert not is_versioned(path)
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "link.ts").symlink_to("/etc/passwd")
    assert list(read_tree(tmp_path)) == ["App.tsx", "src/ios/b.ts"]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a//b", "a/\x00"])
def test_a_foreign_tree_cannot_write_outside_the_folder(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(WorkspaceError):
        write_tree({path: b"x"}, root)
    (root / "a").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError):
        write_tree({"a/x": b"x"}, root)
    assert [entry.name for entry in tmp_path.iterdir()] == ["root"]


def test_trees_are_merged_by_path_and_the_person_wins() -> None:
    base = {"both": b"0", "mine": b"0", "theirs": b"0", "i delete": b"0", "they delete": b"0"}
    mine = {"both": b"m", "mine": b"m", "theirs": b"0", "they delete": b"m", "my new": b"m"}
    theirs = {"both": b"t", "mine": b"0", "theirs": b"t", "i delete": b"0", "their new": b"t"}
    assert merge(base, mine, theirs) == {
        "both": b"t",
        "mine": b"m",
        "my new": b"m",
        "their new": b"t",
        "theirs": b"t",
    }
    assert merge(base, base, base) == base


def test_different_trees_have_different_fingerprints() -> None:
    trees = [{}, {"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"", "b": b"c"}]
    assert len({fingerprint(tree) for tree in trees}) == len(trees)
    assert fingerprint({"a": b"1", "b": b"2"}) == fingerprint({"b": b"2", "a": b"1"})
