"""Runs the checks for the loop and the model; a report always describes the files as they are now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mobvibe_worker.errors import AgentError
from mobvibe_worker.revisions import CheckReport
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.workspace.tree import fingerprint

if TYPE_CHECKING:
    from mobvibe_worker.workspace.staged import StagedFolder

MOST_REPEATS = 4
MOST_PROBLEMS = 40
_PROBLEM_LIMIT = 600


class Checker(Protocol):
    """Checks the staged folder; implemented by the toolchain."""

    async def check(self) -> CheckReport: ...


@dataclass(slots=True)
class CheckGate:
    """Runs the checks, and reuses the last report while the files are unchanged."""

    staged: StagedFolder
    checker: Checker
    _report: CheckReport | None = None
    _checked: str = ""

    async def check(self) -> CheckReport:
        """Check the current files; files that change during a check are checked again.

        Raises AgentError if they change during every one of MOST_REPEATS checks.
        """
        for _ in range(MOST_REPEATS):
            checked = self._fingerprint()
            if self._report is not None and self._checked == checked:
                return self._report
            self._report = await self.checker.check()
            self._checked = checked
        raise AgentError(
            "The project's files kept changing while they were checked.",
            "Close the other program that writes into the staged folder, then try again.",
        )

    def _fingerprint(self) -> str:
        return fingerprint(self.staged.snapshot())


def describe(report: CheckReport) -> str:
    if report.is_green:
        return "All checks passed: types, dependencies, and the iOS and Android bundles."
    lines: list[str] = []
    for check in report.checks:
        if not check.is_green:
            lines.append(f"{check.name}: {len(check.problems) or 'some'} problem(s)")
            lines += [f"  {clean_text(str(p), _PROBLEM_LIMIT)}" for p in check.problems]
    shown = lines[:MOST_PROBLEMS]
    if len(lines) > MOST_PROBLEMS:
        shown.append(f"  ... and {len(lines) - MOST_PROBLEMS} lines more")
    return "The checks failed.\n" + "\n".join(shown)
