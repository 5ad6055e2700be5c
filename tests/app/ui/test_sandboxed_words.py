"""What the stream says of how a job's checks were sealed off."""

from __future__ import annotations

import pytest

from mobvibe_app.ui.stream.entries import entry_of
from mobvibe_worker.events import Completion
from mobvibe_worker.revisions import CHECK_NAMES, Check, CheckReport
from support.scripted_studio import event

GREEN = tuple(Check(name, True, 1.0) for name in CHECK_NAMES)
PASSED = "checked: types ✓ · dependencies ✓ · ios ✓ · android ✓"


@pytest.mark.parametrize(
    ("is_sandboxed", "said"),
    [(True, f"{PASSED} · sandboxed"), (False, f"{PASSED} · unsandboxed"), (None, PASSED)],
)
def test_a_completion_says_it_truthfully(is_sandboxed: bool | None, said: str) -> None:
    report = CheckReport(GREEN, is_sandboxed)
    assert CheckReport.from_data(report.to_data()) == report
    entry = entry_of(event(1, Completion("r1", report.to_data())))
    assert entry.text.splitlines()[1] == said


def test_a_report_of_another_shape_is_not_believed() -> None:
    data = {**CheckReport(GREEN).to_data(), "sandboxed": ["yes"]}
    assert entry_of(event(1, Completion("r1", data))).text.endswith(PASSED)
