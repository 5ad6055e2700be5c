"""One build: stage the head revision, run the agent, check, and commit the result with the job's completion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from mobvibe_worker.agent.loop import AgentLoop, AgentResult
from mobvibe_worker.agent.model import Model
from mobvibe_worker.errors import HeadMoved, LeaseLost, MobvibeError, RedChecks
from mobvibe_worker.events import Completion, Terminal
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Attempt, Job, RevisionId
from mobvibe_worker.revisions import CheckReport, FileTree
from mobvibe_worker.runner.attempt_end import until_answered
from mobvibe_worker.runner.event_buffer import EventBuffer
from mobvibe_worker.runner.failed_attempts import save_failed_attempt
from mobvibe_worker.runner.ledger import AttemptLedger
from mobvibe_worker.runner.running_job import RunningJob
from mobvibe_worker.sanitize import Redactor
from mobvibe_worker.store.claims import FinishedWork
from mobvibe_worker.store.projects import Project
from mobvibe_worker.workspace.tree import merge

if TYPE_CHECKING:
    from mobvibe_worker.runner.staging import CheckingStaged, Toolchains
    from mobvibe_worker.store.stores import Stores

MOST_MERGES = 5


@dataclass(frozen=True, slots=True)
class Base:
    """The revision that an attempt starts from, and its files."""

    revision_id: RevisionId
    files: FileTree


@dataclass(frozen=True, slots=True)
class AttemptRunner:
    """Builds: the worker calls it with each job that it claimed."""

    home: Home
    stores: Stores
    toolchains: Toolchains
    model_for: Callable[[Job], Model]
    redact: Redactor
    budget_usd: Decimal
    on_spent: Callable[[Decimal | None], None]
    """Receives what each settled turn cost, in US dollars; None if its price is unknown."""

    async def __call__(self, running: RunningJob) -> None:
        """Raises whatever ends the attempt without a revision: MobvibeError, LeaseLost, CancelledError."""
        job, attempt, buffer = running.job, running.attempt, running.events
        started = monotonic()
        project = await self.stores.projects.get(job.project_id)
        toolchain = await self.toolchains.ready(project.sdk, buffer.emit)
        base = await self._base(project, attempt, toolchain.starter_files(project))
        name = f"{job.id}.{attempt.number}"
        async with toolchain.staging(name, base.files, buffer.emit) as staging:
            try:
                loop = AgentLoop(
                    model=self.model_for(job),
                    staged=staging.staged,
                    checker=staging.checker,
                    ledger=AttemptLedger(
                        self.stores.turns, attempt, self.budget_usd, self.on_spent
                    ),
                    emit=buffer.emit,
                    redact=self.redact,
                    sdk=project.sdk,
                    attempt=attempt.number,
                )
                result = await loop.run(job.prompt)
                await self._commit(attempt, project, base, staging, result, buffer, started)
            except (MobvibeError, OSError, asyncio.CancelledError):
                if running.why_stopped in (None, "cancelled"):
                    copy = self.home.failed_attempts / f"{project.slug}-{name}"
                    copying = asyncio.to_thread(save_failed_attempt, staging.staged.root, copy)
                    await asyncio.shield(copying)
                raise

    async def _base(self, project: Project, attempt: Attempt, starter: FileTree) -> Base:
        head = await self.stores.revisions.head(project.id)
        if head is None:
            revision = await self.stores.revisions.commit_template(attempt, starter)
            head = revision, await self.stores.revisions.files(revision.id)
        revision, files = head
        return Base(revision.id, files)

    async def _commit(
        self,
        attempt: Attempt,
        project: Project,
        base: Base,
        staging: CheckingStaged,
        result: AgentResult,
        buffer: EventBuffer,
        started: float,
    ) -> None:
        """Commit the green files with the job's completion. If the head moved, merge, check and try again."""
        report = result.report
        for _ in range(MOST_MERGES):
            files = staging.staged.snapshot()
            await buffer.flush()
            work = _finished(base, files, report, result, monotonic() - started)
            try:
                await until_answered(partial(self.stores.claims.complete, attempt, work))
                return
            except HeadMoved:
                base = await self._merge(project, base, files, staging, buffer)
                report = await staging.checker.check()
                if not report.is_green:
                    raise RedChecks(
                        "Your own edits and this change do not work together, so only yours were kept.",
                        "Ask again: the agent starts from your files then.",
                    ) from None
        raise RedChecks("Your files changed faster than this change could be merged with them.")

    async def _merge(
        self,
        project: Project,
        base: Base,
        mine: FileTree,
        staging: CheckingStaged,
        buffer: EventBuffer,
    ) -> Base:
        head = await self.stores.revisions.head(project.id)
        if head is None:
            raise LeaseLost(f"The project {project.name} no longer has any files.")
        revision, theirs = head
        staging.staged.restore(merge(base.files, mine, theirs))
        dropped = overruled(base.files, mine, theirs)
        output = f"Kept your version of: {', '.join(dropped)}" if dropped else ""
        buffer.emit(Terminal("merge your own edits", "passed", output))
        return Base(revision.id, theirs)


def _finished(
    base: Base, files: FileTree, report: CheckReport, result: AgentResult, seconds: float
) -> FinishedWork:
    completion = Completion(
        revision="",
        report=report.to_data(),
        summary=result.summary,
        files=_changed(base.files, files),
        turns=result.turns,
        tokens=result.tokens,
        cost_usd=None if result.cost_usd is None else str(result.cost_usd),
        seconds=round(seconds, 3),
    )
    return FinishedWork(
        files=files,
        base_revision=base.revision_id,
        report=report,
        events=[completion],
        result={"summary": result.summary, "turns": result.turns, "tokens": result.tokens},
    )


def overruled(base: FileTree, mine: FileTree, theirs: FileTree) -> list[str]:
    """The paths where the person's file replaces a different one of the agent's."""
    return [
        path
        for path in sorted(base.keys() | mine.keys() | theirs.keys())
        if len({side.get(path) for side in (base, mine, theirs)}) == 3
    ]


def _changed(before: FileTree, after: FileTree) -> int:
    return sum(before.get(path) != after.get(path) for path in before.keys() | after.keys())
