"""Failed attempts keep their files and name a remedy, and a merge names the overruled files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobvibe_worker.errors import DatabaseUnreachable, ModelUnavailable
from mobvibe_worker.runner.attempt import overruled
from mobvibe_worker.runner.attempt_end import remedy_of
from mobvibe_worker.runner.failed_attempts import MOST_COPIES, save_failed_attempt


def test_the_newest_folders_are_kept_without_packages(tmp_path: Path) -> None:
    staged, kept = tmp_path / "staged", tmp_path / "kept"
    (staged / "node_modules").mkdir(parents=True)
    (staged / "App.tsx").write_text("mine")
    for number in range(MOST_COPIES + 2):
        save_failed_attempt(staged, kept / f"app-{number}")
        os.utime(kept / f"app-{number}", (number, number))
    names = {each.name for each in kept.iterdir()}
    assert names == {f"app-{number}" for number in range(2, MOST_COPIES + 2)}
    assert [each.name for each in (kept / "app-5").iterdir()] == ["App.tsx"]


@pytest.mark.parametrize(("failures", "is_final"), [(0, False), (1, False), (2, True)])
def test_only_the_last_attempt_suggests_a_retry(failures: int, is_final: bool) -> None:
    remedy = remedy_of(ModelUnavailable(), "J", will_retry=failures + 1 < 3)
    assert ("mobvibe-tui retry J" in remedy) is is_final
    assert ("retried automatically" in remedy) is not is_final
    assert "DATABASE_URL" in remedy_of(DatabaseUnreachable(), "J", will_retry=False)


def test_a_merge_names_the_files_that_the_persons_edits_overruled() -> None:
    base = {"both": b"0", "mine": b"0", "theirs": b"0", "same": b"0"}
    mine = {**base, "both": b"1", "mine": b"1", "same": b"1"}
    theirs = {**base, "both": b"2", "theirs": b"2", "same": b"1"}
    assert overruled(base, mine, theirs) == ["both"]
