"""mobvibe-tui run: one job without the dashboard, its events, its QR, its result."""

from __future__ import annotations

import argparse
import asyncio

from mobvibe_app.cli.job_follower import JobFollower, Outcome
from mobvibe_app.cli.output import Output
from mobvibe_app.cli.qr import qr_lines
from mobvibe_app.cli.race import Race
from mobvibe_app.cli.serving import follow_preview, reported
from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.backend import Backend
from mobvibe_app.studio.commands import ReplayDemo, SubmitPrompt
from mobvibe_app.studio.conversations import Submitted, order_of
from mobvibe_app.wiring import build_studio
from mobvibe_worker.errors import InputError, MobvibeError, ServiceError
from mobvibe_worker.toolchain.sdks import sdk

CANCEL_SECONDS = 15.0
EXIT_CODES = {"completed": 0, "failed": 1, "cancelled": 1}
INTERRUPTED = 130


async def run_job(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    """Run one job to its end. Returns 0 only if it completed; raises MobvibeError if none was enqueued.

    With --json the last object is always one result, even after an error.
    """
    try:
        return await _run(settings, flags, out)
    except MobvibeError as error:
        if out.is_json and not out.has_result:
            out.result(Outcome("failed", flags.project, error=str(error)).to_data())
        raise


async def _run(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    studio = build_studio(settings)
    order = order_of(_command(flags), settings, studio.demos)
    async with Race(studio) as race:
        backend = await race.first(studio.open(reported(out)))
        if backend is None:
            return INTERRUPTED
        submitted = await backend.own.conversations.submit(order)
        following = asyncio.create_task(JobFollower(backend, submitted, out).follow())
        outcome = await race.first(following)
        if outcome is None:
            outcome = await _cancel(backend, submitted, following, out)
        _print_result(out, outcome, order.sdk)
        if race.is_interrupted:
            return INTERRUPTED
        if outcome.status == "completed" and outcome.url is None:
            raise ServiceError("The app is built and kept, but its preview did not start.")
        if flags.keep and outcome.status == "completed":
            out.note("serving; ctrl+c stops it")
            await race.first(_serve_on(backend, submitted, out))
        return EXIT_CODES[outcome.status]


def _command(flags: argparse.Namespace) -> SubmitPrompt | ReplayDemo:
    if flags.demo is not None:
        if flags.prompt is not None:
            raise InputError("A demo has its own prompt.", "Leave out either --demo or the prompt.")
        return ReplayDemo(flags.demo, flags.project, flags.platform)
    if flags.prompt is None:
        raise InputError(
            "There is no prompt.", 'Try: mobvibe-tui run "a tip calculator", or --demo NAME.'
        )
    return SubmitPrompt(flags.prompt, project=flags.project, platform=flags.platform)


async def _serve_on(backend: Backend, submitted: Submitted, out: Output) -> None:
    """Serve until cancelled. If the preview cannot be followed, print why and go on serving."""
    try:
        await follow_preview(backend, submitted.session_id, out)
    except MobvibeError as error:
        out.error(error)
    await asyncio.Event().wait()


async def _cancel(
    backend: Backend, submitted: Submitted, following: asyncio.Task[Outcome], out: Output
) -> Outcome:
    """Cancel the job before the program ends."""
    out.note("cancelling the job ...")
    await backend.stores.queue.cancel(submitted.job_id)
    done, _ = await asyncio.wait([following], timeout=CANCEL_SECONDS)
    if done:
        return following.result()
    following.cancel()
    return Outcome("cancelled", submitted.project.slug, submitted.job_id, error="Interrupted.")


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
