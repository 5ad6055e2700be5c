"""The stream shows whether a job's checks ran sandboxed."""

from __future__ import annotations

import pytest

from mobvibe_app.ui.stream.entries import entry_of
from mobvibe_worker.events import Completion
from mobvibe_worker.revisions import CHECK_NAMES, Check, CheckReport
from support.scripted_studio import event

GREEN = tuple(Check(name, True, 1.0) for name in CHECK_NAMES)
PASSED = "checked: types ✓ · dependencies ✓ · ios ✓ · android ✓"


@pytest.mark.parametrize(
    ("is_sandboxed", "line"),
    [(True, f"{PASSED} · sandboxed"), (False, f"{PASSED} · unsandboxed"), (None, PASSED)],
)
def test_a_completion_shows_whether_its_checks_ran_sandboxed(
    is_sandboxed: bool | None, line: str
) -> None:
    report = CheckReport(GREEN, is_sandboxed)
    assert CheckReport.from_data(report.to_data()) == report
    entry = entry_of(event(1, Completion("r1", report.to_data())))
    assert entry.text.splitlines()[1] == line


def test_a_report_of_an_unexpected_shape_is_ignored() -> None:
    data = {**CheckReport(GREEN).to_data(), "sandboxed": ["yes"]}
    assert entry_of(event(1, Completion("r1", data))).text.endswith(PASSED)
