"""Runs an attempt inside the one border where its errors stop, and stores how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mobvibe_worker.errors import (
    DatabaseUnreachable,
    LeaseLost,
    MobvibeError,
    ModelUnavailable,
    StoreError,
)
from mobvibe_worker.events import ErrorRaised
from mobvibe_worker.runner.running_job import RunAttempt, RunningJob
from mobvibe_worker.sanitize import Redactor, clean_text

if TYPE_CHECKING:
    from mobvibe_worker.store.claims import Claims

T = TypeVar("T")
log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
STOPPED_SECONDS = 5.0
"""How long a stop waits for a write under way. Without it, work that is paid for would be done again."""


@dataclass(frozen=True, slots=True)
class AttemptBorder:
    """Each attempt has one outcome: completed, failed, retried, cancelled, handed back, or lost to another worker."""

    claims: Claims
    redact: Redactor

    async def run(self, running: RunningJob, run_attempt: RunAttempt) -> None:
        """Run an attempt to its end. Raises only CancelledError, and only if it was stopped without a reason."""
        try:
            await self._run(running, run_attempt)
        except asyncio.CancelledError:
            if running.why_stopped is None:
                raise
            await asyncio.shield(self.store_stopped(running))

    async def store_stopped(self, running: RunningJob) -> None:
        """Store why an attempt was stopped, unless its end is stored. If that fails, its lease runs out."""
        attempt = running.attempt
        if running.outcome is not None or running.why_stopped in (None, "lost"):
            return
        try:
            async with asyncio.timeout(STOPPED_SECONDS):  # the project may be locked for long
                await running.events.flush()
                if running.why_stopped == "cancelled":
                    cancelled = ErrorRaised("Cancelled.", is_cancelled=True)
                    await self.claims.finish_cancelled(attempt, [cancelled])
                else:
                    await self.claims.hand_back(attempt)
            running.outcome = running.why_stopped
        except (StoreError, TimeoutError) as error:
            log.warning("job %s attempt %s: %r", attempt.job_id, attempt.number, error)

    async def _run(self, running: RunningJob, run_attempt: RunAttempt) -> None:
        try:
            # Nothing is refused after this block, so storing a failure is not interrupted.
            async with running.events:
                await run_attempt(running)
                running.outcome = "completed"
        except LeaseLost as lost:
            log.warning("job %s attempt %s: %s", running.job.id, running.attempt.number, lost)
        except asyncio.CancelledError:
            if running.refusal is None or running.why_stopped is not None:
                raise
            refusal, running.refusal = running.refusal, None
            if running.outcome is None:
                await self._fail(running, _stored_as(running, refusal))
        except Exception as error:
            await self._fail(running, _stored_as(running, error))

    async def _fail(
        self, running: RunningJob, error: MobvibeError, *, is_last_try: bool = False
    ) -> None:
        """Store a failure. If the database refuses it, store that refusal; if it refuses again, the lease runs out."""
        try:
            await until_answered(lambda: self._store_failure(running, error))
        except LeaseLost as lost:
            log.warning("job %s attempt %s: %s", running.job.id, running.attempt.number, lost)
        except StoreError as refusal:
            log.warning("job %s: its failure cannot be stored: %s", running.job.id, refusal)
            if not is_last_try:
                await self._fail(running, refusal, is_last_try=True)

    async def _store_failure(self, running: RunningJob, error: MobvibeError) -> None:
        job = running.job
        # As private.end_attempts decides it.
        will_retry = error.is_worth_retrying and job.retry_count + 1 < job.max_retries
        # A text that the database cannot store would leave the job to be run, and paid for, again.
        message = self.redact(clean_text(error.message))
        remedy = self.redact(clean_text(remedy_of(error, str(job.id), will_retry=will_retry)))
        await running.events.flush()
        is_retried = await self.claims.fail(
            running.attempt,
            f"{message} {remedy}".strip(),
            retry=error.is_worth_retrying,
            events=[ErrorRaised(message, remedy)],
        )
        running.outcome = "retried" if is_retried else "failed"


def _stored_as(running: RunningJob, error: Exception) -> MobvibeError:
    """The error as it is stored. A defect ends one job, not the worker."""
    if isinstance(error, MobvibeError):
        return error
    job, number = running.job.id, running.attempt.number
    log.error("job %s attempt %s: a defect", job, number, exc_info=error)
    return MobvibeError(
        f"An unexpected {type(error).__name__} ended the job: {error}",
        "Run it again with `mobvibe-tui retry`, or see the worker's log.",
    )


def remedy_of(error: MobvibeError, job: str, *, will_retry: bool) -> str:
    """What a person can do next. It never promises another attempt for a dead job."""
    if isinstance(error, ModelUnavailable) and not will_retry:
        return f"Check the network and ANTHROPIC_BASE_URL, then run `mobvibe-tui retry {job}`."
    return error.remedy


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a fenced write while the database is away.

    If the caller is stopped meanwhile, it still gets the answer of a write that ends within `STOPPED_SECONDS`, and
    CancelledError otherwise.
    """
    while True:
        try:
            return await _undisturbed(call)
        except DatabaseUnreachable as away:
            log.warning("waiting for the database: %s", away)
            await asyncio.sleep(RETRY_SECONDS)


async def _undisturbed(call: Callable[[], Awaitable[T]]) -> T:
    writing = asyncio.ensure_future(call())
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing}, timeout=STOPPED_SECONDS)
        writing.cancel()
        (answer,) = await asyncio.gather(writing, return_exceptions=True)
        if isinstance(answer, BaseException):
            raise
        return answer
