"""mobvibe-tui run: one job without the dashboard, its events, its QR, its result."""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from mobvibe_app.build_session import Order, Submitted, checked_prompt
from mobvibe_app.changes import Change, PreviewAddress, ServiceChanged, TroubleChanged
from mobvibe_app.cli.event_lines import event_data, event_line
from mobvibe_app.cli.output import Output
from mobvibe_app.cli.qr import qr_lines
from mobvibe_app.settings import AppSettings
from mobvibe_app.studio import Connected, Studio, no_model
from mobvibe_app.wiring import build_studio
from mobvibe_worker.errors import InputError, MobvibeError, ServiceError
from mobvibe_worker.events import Event, parse_payload
from mobvibe_worker.jobs import Job

PREVIEW_SECONDS = 180.0
CANCEL_SECONDS = 10.0
EXIT_CODES = {"completed": 0, "failed": 1, "cancelled": 1}
INTERRUPTED = 130


@dataclass(slots=True)
class Outcome:
    """What the result line says."""

    status: Literal["completed", "failed", "cancelled"]
    job: Job | None
    project: str | None
    revision: str | None = None
    report: dict[str, Any] | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    url: str | None = None

    def to_data(self) -> dict[str, Any]:
        """The result object of DESIGN section 7."""
        return {
            "status": self.status,
            "job_id": str(self.job.id) if self.job else None,
            "project": self.project,
            "revision": self.revision,
            "url": self.url,
            "checks": self.report,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "error": self.error,
        }


async def run_job(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Run one job to its end. Returns 0 only when it completed; raises MobvibeError where none was enqueued.

    With --json the last object is always one result, whatever happened.
    """
    try:
        return await _run(settings, flags, out)
    except MobvibeError as error:
        if out.is_json and not out.has_result:
            out.result(Outcome("failed", None, flags.project, error=str(error)).to_data())
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
        title=order.title,
        project=flags.project,
        sdk=order.sdk,
        platform=flags.platform,
        budget_usd=order.budget_usd,
    )


async def _until_interrupted(
    studio: Studio, order: Order, keep: bool, out: Output, interrupted: asyncio.Event
) -> int:
    stop = asyncio.create_task(interrupted.wait())
    opening = asyncio.create_task(studio.open(lambda change: _tell(out, change)))
    if await _interrupted_first(opening, stop):
        return INTERRUPTED
    connected = opening.result()
    submitted = await connected.session.submit(order)
    following = asyncio.create_task(_follow(connected, submitted, out))
    was_interrupted = await _interrupted_first(following, stop, cancel=False)
    if was_interrupted:
        out.note("cancelling the job ...")
        await connected.session.cancel(submitted.job_id)
        await asyncio.wait([following], timeout=CANCEL_SECONDS)
        if not following.done():
            following.cancel()
            return INTERRUPTED
    outcome = following.result()
    preview: PreviewAddress | None = None
    unserved: MobvibeError | None = None
    if outcome.status == "completed" and not was_interrupted:
        showing = asyncio.create_task(_preview(connected, submitted))
        try:
            if not await _interrupted_first(showing, stop):
                preview = showing.result()
                outcome.url = preview.url
        except MobvibeError as error:
            unserved = error
            outcome.error = str(error)
    _print_result(out, outcome, preview)
    if was_interrupted or interrupted.is_set():
        return INTERRUPTED
    if unserved is not None:
        raise unserved
    if keep and outcome.status == "completed":
        out.note("serving; ctrl+c stops it")
        await _serve(studio, stop)
    return EXIT_CODES[outcome.status]


async def _interrupted_first(
    task: asyncio.Task[Any], stop: asyncio.Task[Any], cancel: bool = True
) -> bool:
    """Wait for the task or for ctrl+c, whichever comes first; with `cancel`, ctrl+c ends the task."""
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return False
    if cancel:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return True


def _tell(out: Output, change: Change) -> None:
    if isinstance(change, ServiceChanged):
        out.status(change.status)
    elif isinstance(change, TroubleChanged) and change.message:
        out.error(MobvibeError(change.message, change.remedy))


async def _follow(connected: Connected, submitted: Submitted, out: Output) -> Outcome:
    """Print the session's events from the prompt on, until its job has its outcome."""
    revision: str | None = None
    report: dict[str, Any] | None = None
    async for events in connected.session.follow(submitted.session_id, submitted.after_seq):
        for event in events:
            _print_event(out, event)
            if event.job_id == submitted.job_id and event.type == "completion":
                revision, report = event.data["revision"], event.data["report"]
        ends = [event for event in events if event.type in ("completion", "error")]
        if any(event.job_id == submitted.job_id for event in ends):
            job = await connected.session.queue.get(submitted.job_id)
            if job.status == "completed" or job.status == "failed" or job.status == "cancelled":
                cost = await connected.session.cost_of_job(job.id)
                return Outcome(
                    job.status, job, submitted.project.slug, revision, report, cost, job.error
                )
    raise MobvibeError("The event stream ended before the job did.")


async def _preview(connected: Connected, submitted: Submitted) -> PreviewAddress:
    try:
        async with asyncio.timeout(PREVIEW_SECONDS):
            preview = await connected.preview_host.open(submitted.session_id)
    except TimeoutError:
        preview = None
    if preview is None:
        raise ServiceError(
            "The app was built, but its preview did not start.", "See mobvibe-tui status."
        )
    return preview


def _print_event(out: Output, event: Event) -> None:
    if out.is_json:
        out.value({"event": event_data(event)})
        return
    payload = parse_payload(event)
    line = event_line(payload) if payload else None
    if line:
        out.line(line)


def _print_result(out: Output, outcome: Outcome, preview: PreviewAddress | None) -> None:
    if out.is_json:
        out.result(outcome.to_data())
        return
    if preview is not None:
        if out.is_terminal:
            out.qr(qr_lines(preview.url))
        out.line(f"{preview.url}   {preview.expo_go}")
    if outcome.error:
        out.line(f"{outcome.status}: {outcome.error}")


async def _serve(studio: Studio, stop: asyncio.Task[Any]) -> None:
    lost = asyncio.create_task(studio.lost())
    try:
        await asyncio.wait([lost, stop], return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise lost.result()
    finally:
        lost.cancel()
