"""A version of a project's files, and the report of its checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mobvibe_worker.jobs import JobId, ProjectId, RevisionId


FileTree = Mapping[str, bytes]
"""A project's files: POSIX path relative to the project -> content, without node_modules and caches."""

RevisionSource = Literal["template", "agent", "person", "restore"]
CheckName = Literal["types", "dependencies", "ios", "android"]
CHECK_NAMES: tuple[CheckName, ...] = ("types", "dependencies", "ios", "android")


@dataclass(frozen=True, slots=True)
class Revision:
    """One row of project_revisions, without its files."""

    id: RevisionId
    project_id: ProjectId
    parent_id: RevisionId | None
    source: RevisionSource
    job_id: JobId | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem that a check found. Lines and columns count from 1."""

    message: str
    path: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(
            str(part) for part in (self.path, self.line, self.column) if part is not None
        )
        return f"{place}: {self.message}" if place else self.message


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check of a staged folder. `seconds` is wall-clock time, `size` a bundle's bytes."""

    name: CheckName
    is_green: bool
    seconds: float
    problems: tuple[Problem, ...] = ()
    size: int | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of all checks of one version."""

    checks: tuple[Check, ...]
    is_sandboxed: bool | None = None
    """Whether their commands ran in a sandbox; None if unknown."""

    @property
    def is_green(self) -> bool:
        """Whether every check of CHECK_NAMES ran and passed."""
        return {check.name for check in self.checks} == set(CHECK_NAMES) and all(
            check.is_green for check in self.checks
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(problem for check in self.checks for problem in check.problems)

    def to_data(self) -> dict[str, Any]:
        sandboxed = {} if self.is_sandboxed is None else {"sandboxed": self.is_sandboxed}
        checks = [asdict(check) for check in self.checks]
        return {"green": self.is_green, "checks": checks, **sandboxed}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> CheckReport:
        """Read what `to_data` wrote. Raises KeyError or TypeError for anything else."""
        return cls(
            tuple(
                Check(
                    **{
                        **check,
                        "problems": tuple(Problem(**problem) for problem in check["problems"]),
                    }
                )
                for check in data["checks"]
            ),
            is_sandboxed=data.get("sandboxed"),
        )
