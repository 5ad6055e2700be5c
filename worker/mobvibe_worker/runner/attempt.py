"""One attempt of a job: stage the head revision, let the agent work, check, commit with the completion."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from mobvibe_worker.agent.loop import AgentLoop, AgentResult
from mobvibe_worker.agent.model import Model
from mobvibe_worker.errors import (
    HeadMoved,
    LeaseLost,
    MobvibeError,
    ModelUnavailable,
    RedChecks,
    StoreError,
)
from mobvibe_worker.events import Completion, ErrorRaised, Terminal
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Attempt, Job, RevisionId
from mobvibe_worker.revisions import CheckReport, FileTree
from mobvibe_worker.runner.event_buffer import EventBuffer
from mobvibe_worker.runner.failed_attempts import keep_aside
from mobvibe_worker.runner.ledger import AttemptLedger
from mobvibe_worker.runner.outcome_writes import until_answered, until_stored
from mobvibe_worker.runner.running_job import RunningJob
from mobvibe_worker.runner.tally import Tally
from mobvibe_worker.sanitize import Redactor, clean_text
from mobvibe_worker.store.claims import FinishedWork
from mobvibe_worker.store.projects import Project
from mobvibe_worker.workspace.tree import merge

if TYPE_CHECKING:
    from mobvibe_worker.runner.staging import CheckingStaged, Toolchains
    from mobvibe_worker.store.stores import Stores

log = logging.getLogger(__name__)

MOST_MERGES = 5


@dataclass(frozen=True, slots=True)
class Base:
    """The revision that an attempt starts from, and its files."""

    revision_id: RevisionId
    files: FileTree


@dataclass(frozen=True, slots=True)
class AttemptRunner:
    """Runs one claimed job to its one outcome: completed, failed, cancelled, or handed back."""

    home: Home
    stores: Stores
    toolchains: Toolchains
    model_for: Callable[[Job], Model]
    redact: Redactor
    budget_usd: Decimal
    tally: Tally = field(default_factory=Tally)

    async def __call__(self, running: RunningJob) -> None:
        """Never raises for a failed job: its outcome is stored. Raises CancelledError when stopped."""
        job, attempt = running.job, running.attempt
        buffer = EventBuffer(
            self.stores.events,
            job.session_id,
            attempt,
            on_lost=lambda: running.stop("lost"),
            redact=self.redact,
            on_stored=self._count_events,
        )
        async with buffer:
            try:
                await buffer.while_accepted(self._work(running, buffer))
                running.outcome = "completed"
            except asyncio.CancelledError:
                await asyncio.shield(self._end_stopped(running, buffer))
                raise
            except LeaseLost as lost:
                log.warning("job %s attempt %s: %s", job.id, attempt.number, lost)
            except MobvibeError as error:
                await self._fail(running, buffer, error)
            except Exception as error:  # the border: a defect ends one job, not the worker
                log.exception("job %s attempt %s ended by a defect", job.id, attempt.number)
                defect = MobvibeError(
                    f"An unexpected {type(error).__name__} ended the job: {error}",
                    "Run it again with `mobvibe-tui retry`, or see the worker's log.",
                )
                await self._fail(running, buffer, defect)

    def _count_events(self, rows: int) -> None:
        self.tally.event_rows += rows

    async def _work(self, running: RunningJob, buffer: EventBuffer) -> None:
        job, attempt = running.job, running.attempt
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
                        self.stores.turns, attempt, self.budget_usd, self.tally.spend
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
                    kept = self.home.failed_attempts / f"{project.slug}-{name}"
                    copying = asyncio.to_thread(keep_aside, staging.staged.root, kept)
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
        """Commit the green files with the job's completion; where head moved, merge, check and try again."""
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
                        "Your own edits and this change do not fit together, so yours were kept.",
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
            raise LeaseLost(f"The project {project.name} has no files any more.")
        revision, theirs = head
        staging.staged.restore(merge(base.files, mine, theirs))
        dropped = overruled(base.files, mine, theirs)
        output = f"Your version stays of: {', '.join(dropped)}" if dropped else ""
        buffer.emit(Terminal("merge your own edits", "passed", output))
        return Base(revision.id, theirs)

    async def _fail(self, running: RunningJob, buffer: EventBuffer, error: MobvibeError) -> None:
        job, attempt = running.job, running.attempt
        # As private.end_attempts decides it.
        will_retry = error.is_worth_retrying and job.retry_count + 1 < job.max_retries
        message = self.redact(clean_text(error.message))
        remedy = self.redact(clean_text(remedy_of(error, str(job.id), will_retry=will_retry)))

        async def store() -> None:
            await buffer.flush()
            is_retried = await self.stores.claims.fail(
                attempt,
                f"{message} {remedy}".strip(),
                retry=error.is_worth_retrying,
                events=[ErrorRaised(message, remedy)],
            )
            running.outcome = "retried" if is_retried else "failed"

        await until_stored(store, attempt)

    async def _end_stopped(self, running: RunningJob, buffer: EventBuffer) -> None:
        """Store the outcome of an attempt that was stopped from outside; where that fails, its lease runs out."""
        claims, attempt = self.stores.claims, running.attempt
        if running.why_stopped == "lost":
            return
        try:
            await buffer.flush()
            if running.why_stopped == "cancelled":
                cancelled = ErrorRaised("Cancelled.", is_cancelled=True)
                await claims.finish_cancelled(attempt, [cancelled])
            else:
                await claims.hand_back(attempt)
            running.outcome = running.why_stopped
        except StoreError as error:
            log.warning("job %s attempt %s: %s", attempt.job_id, attempt.number, error)


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


def remedy_of(error: MobvibeError, job: str, *, will_retry: bool) -> str:
    """What to do next; a job that ended for good is not said to be tried again."""
    if isinstance(error, ModelUnavailable) and not will_retry:
        return f"Check the network and ANTHROPIC_BASE_URL, then run `mobvibe-tui retry {job}`."
    return error.remedy


def overruled(base: FileTree, mine: FileTree, theirs: FileTree) -> list[str]:
    """The paths where the person's file wins over another version of the agent's."""
    return [
        path
        for path in sorted(base.keys() | mine.keys() | theirs.keys())
        if len({side.get(path) for side in (base, mine, theirs)}) == 3
    ]


def _changed(before: FileTree, after: FileTree) -> int:
    return sum(before.get(path) != after.get(path) for path in before.keys() | after.keys())
