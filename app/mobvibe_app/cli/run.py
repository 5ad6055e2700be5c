"""mobvibe-tui run: one job without the dashboard, its events, its QR, its result."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from mobvibe_app.cli.job_follower import JobFollower, Outcome
from mobvibe_app.cli.output import Output
from mobvibe_app.cli.qr import qr_lines
from mobvibe_app.cli.serving import follow_preview
from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.changes import Change, ServiceChanged, TroubleChanged
from mobvibe_app.studio.conversations import Order, Submitted
from mobvibe_app.studio.studio import Connected, Studio, no_model
from mobvibe_app.wiring import build_studio
from mobvibe_worker.errors import InputError, MobvibeError, ServiceError
from mobvibe_worker.jobs import checked_prompt
from mobvibe_worker.toolchain.sdks import sdk

T = TypeVar("T")

CANCEL_SECONDS = 15.0
EXIT_CODES = {"completed": 0, "failed": 1, "cancelled": 1}
INTERRUPTED = 130


async def run_job(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Run one job to its end. Returns 0 only when it completed; raises MobvibeError where none was enqueued.

    With --json the last object is always one result, whatever happened.
    """
    try:
        return await _run(settings, flags, out)
    except MobvibeError as error:
        if out.is_json and not out.has_result:
            out.result(Outcome("failed", flags.project, error=str(error)).to_data())
        raise


async def _run(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    studio = build_studio(settings)
    order = _order(settings, flags, studio)
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    try:
        return await _until_interrupted(studio, order, flags.keep, out, interrupted)
    finally:
        await studio.close()


def _order(settings: AppSettings, flags: argparse.Namespace, studio: Studio) -> Order:
    if flags.demo is not None:
        if flags.prompt is not None:
            raise InputError("A demo has its own prompt.", "Leave out either --demo or the prompt.")
        order = studio.demo_order(flags.demo)
    else:
        if flags.prompt is None:
            raise InputError(
                "There is no prompt.", 'Try: mobvibe-tui run "a tip calculator", or --demo NAME.'
            )
        checked_prompt(flags.prompt)
        if not settings.has_model:
            raise no_model(studio.demos())
        order = Order(flags.prompt, sdk=settings.sdk, budget_usd=settings.budget_usd)
    return Order(
        prompt=order.prompt,
        recording=order.recording,
        changes=order.changes,
        project=flags.project,
        sdk=order.sdk,
        platform=flags.platform,
        budget_usd=order.budget_usd,
    )


async def _until_interrupted(
    studio: Studio, order: Order, keep: bool, out: Output, interrupted: asyncio.Event
) -> int:
    async with _Watched(interrupted, studio) as watched:
        connected = await watched.first(studio.open(lambda change: _tell(out, change)))
        if connected is None:
            return INTERRUPTED
        submitted = await connected.session.submit(order)
        follower = JobFollower(connected, submitted, out)
        following = asyncio.create_task(follower.follow())
        outcome = await watched.first(following)
        if outcome is None:
            outcome = await _cancel(connected, submitted, following, out)
        _print_result(out, outcome, order.sdk)
        if interrupted.is_set():
            return INTERRUPTED
        if outcome.status == "completed" and outcome.url is None:
            raise ServiceError("The app is built and kept, but its preview did not start.")
        if keep and outcome.status == "completed":
            out.note("serving; ctrl+c stops it")
            await watched.first(_serve_on(connected, submitted, out))
        return EXIT_CODES[outcome.status]


async def _serve_on(connected: Connected, submitted: Submitted, out: Output) -> None:
    """For ever; what cannot be followed now is said and the rest goes on."""
    try:
        await follow_preview(connected, submitted.session_id, out)
    except MobvibeError as error:
        out.error(error)
    await asyncio.Event().wait()


class _Watched:
    """Waits for something, unless ctrl+c or the loss of the environment comes first."""

    def __init__(self, interrupted: asyncio.Event, studio: Studio) -> None:
        self._studio = studio
        self._stop = asyncio.create_task(interrupted.wait())
        self._lost: asyncio.Task[MobvibeError] | None = None

    async def first(self, wanted: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T | None:
        """The value; None after ctrl+c (a task goes on, a coroutine is ended). Raises when the environment is lost."""
        task = wanted if isinstance(wanted, asyncio.Task) else asyncio.create_task(wanted)
        if self._lost is None and self._studio.is_open:
            self._lost = asyncio.create_task(self._studio.lost())
        others: set[asyncio.Task[Any]] = {self._stop} | ({self._lost} if self._lost else set())
        await asyncio.wait({task} | others, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if task is not wanted or not self._stop.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._lost is not None and self._lost.done():
            raise self._lost.result()
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [task for task in (self._stop, self._lost) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _cancel(
    connected: Connected, submitted: Submitted, following: asyncio.Task[Outcome], out: Output
) -> Outcome:
    """ctrl+c: the job is cancelled before the program goes."""
    out.note("cancelling the job ...")
    await connected.session.cancel(submitted.job_id)
    done, _ = await asyncio.wait([following], timeout=CANCEL_SECONDS)
    if done:
        return following.result()
    following.cancel()
    return Outcome("cancelled", submitted.project.slug, submitted.job_id, error="Interrupted.")


def _tell(out: Output, change: Change) -> None:
    if isinstance(change, ServiceChanged):
        out.status(change.status)
    elif isinstance(change, TroubleChanged) and change.message:
        out.error(MobvibeError(change.message, change.remedy))


def _print_result(out: Output, outcome: Outcome, sdk_version: int) -> None:
    if out.is_json:
        out.result(outcome.to_data())
        return
    if outcome.url is not None:
        if out.is_terminal:
            out.qr(qr_lines(outcome.url))
        is_page = outcome.url.startswith("http")
        opens = "Opens in any browser." if is_page else sdk(sdk_version).expo_go
        out.line(f"{outcome.url}   {opens}")
    if outcome.error:
        out.line(f"{outcome.status}: {outcome.error}")
