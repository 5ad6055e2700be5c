"""mobvibe-tui jobs, events, retry, cancel: the queue from the command line."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from mobvibe_app.cli.event_lines import event_data, event_line
from mobvibe_app.cli.output import Output
from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.backend import Backend
from mobvibe_app.wiring import build_studio
from mobvibe_worker.errors import InputError
from mobvibe_worker.jobs import Job, JobId, SessionId
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.projects import Project

PAGE = 500
MOST_JOBS = 50
PROMPT_START = 60
WHERE = "where a worker runs, for example in `mobvibe-tui`"


@asynccontextmanager
async def _open(settings: AppSettings, out: Output) -> AsyncIterator[Backend]:
    studio = build_studio(settings)
    try:
        yield await studio.open(as_host=False)
    finally:
        await studio.close()


def _id(text: str, what: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError(
            f"That is not the id of a {what}.", "`mobvibe-tui jobs --json` lists the ids."
        ) from None


async def jobs(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    async with _open(settings, out) as backend:
        stores = backend.stores
        newest = await stores.queue.newest(MOST_JOBS)
        ids = {job.project_id for job in newest}
        projects = {each: await stores.projects.get(each) for each in ids}
    for job in newest:
        prompt = " ".join(clean_text(job.prompt).split())
        if out.is_json:
            out.value({"job": _job_data(job, projects[job.project_id], prompt)})
            continue
        out.line(
            f"{job.id}  {job.status:<10} attempt {job.attempt}  session {job.session_id}"
            f"  {projects[job.project_id].slug}  {prompt[:PROMPT_START]}"
        )
        if reason := _reason(job, projects[job.project_id]):
            out.line(f"    {reason}")
    return 0


def _reason(job: Job, project: Project) -> str:
    """Why a job is dead or waits, or where it runs."""
    if job.status == "processing":
        return f"runs on {job.worker}"
    if job.status == "pending" and project.status == "deleted":
        return "its project is deleted: it waits until that is restored, or `cancel` ends it"
    said = " ".join(clean_text(job.error or "").split())
    if job.status == "pending" and said:
        return f"tried {job.retry_count} of {job.max_retries} times: {said}"
    return said if job.status == "failed" else ""


def _job_data(job: Job, project: Project, prompt: str) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "session_id": str(job.session_id),
        "project": project.slug,
        "project_status": project.status,
        "status": job.status,
        "attempt": job.attempt,
        "retry_count": job.retry_count,
        "max_retries": job.max_retries,
        "priority": job.priority,
        "run_at": job.run_at,
        "worker": job.worker,
        "error": job.error,
        "prompt": prompt[:PROMPT_START],
    }


async def events(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    session_id = SessionId(_id(flags.session, "session"))
    async with _open(settings, out) as backend:
        await backend.stores.sessions.get(session_id)
        after = 0
        while page := await backend.stores.events.read(session_id, after, PAGE):
            for event in page:
                payload = event.payload
                if out.is_json:
                    out.value({"event": event_data(event)})
                elif payload and (line := event_line(payload)):
                    out.line(line)
            after = page[-1].seq
    return 0


async def retry(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    if flags.all_dead == (flags.job is not None):
        raise InputError(
            "Say which job to retry.", "`mobvibe-tui retry JOB`, or `mobvibe-tui retry --all-dead`."
        )
    async with _open(settings, out) as backend:
        queue = backend.stores.queue
        if flags.all_dead:
            await _retry_all(queue, out)
            return 0
        job_id = JobId(_id(flags.job, "job"))
        await queue.retry(job_id)
        _report(out, job_id, (await queue.get(job_id)).status)
        out.note(f"it runs {WHERE}")
    return 0


async def _retry_all(queue: JobQueue, out: Output) -> None:
    """Retry in batches until no dead job can be retried. A job that dies again meanwhile is left."""
    retried: set[JobId] = set()
    while batch := set(await queue.retry_all_dead()) - retried:
        for job_id in sorted(batch):
            _report(out, job_id, "pending")
        retried |= batch
    if retried:
        out.note(f"{len(retried)} job(s) are back in the queue; they run {WHERE}")
    if still_dead := (await queue.stats()).failed:
        out.note(f"{still_dead} job(s) are still dead; `mobvibe-tui retry JOB` says why")
    elif not retried:
        out.note("no job is dead")


async def cancel(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    job_id = JobId(_id(flags.job, "job"))
    async with _open(settings, out) as backend:
        status = await backend.stores.queue.cancel(job_id)
    _report(out, job_id, status, "being cancelled" if status == "processing" else status)
    return 0


def _report(out: Output, job_id: JobId, status: str, words: str = "") -> None:
    out.note(f"{job_id} is {words or status}")
    if out.is_json:
        out.value({"job": {"id": str(job_id), "status": status}})


Command = Callable[[AppSettings, argparse.Namespace, Output], Coroutine[Any, Any, int]]
COMMANDS: dict[str, Command] = {"jobs": jobs, "events": events, "retry": retry, "cancel": cancel}
