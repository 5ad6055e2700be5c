"""Follows one job from its prompt to its outcome, printing every event on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from mobvibe_app.cli.event_lines import event_data, event_line
from mobvibe_app.cli.output import Output
from mobvibe_app.studio.backend import Backend
from mobvibe_app.studio.conversations import Submitted
from mobvibe_worker.events import Event, Thinking
from mobvibe_worker.jobs import Job, JobId

PREVIEW_SECONDS = 240.0


@dataclass(slots=True)
class Outcome:
    """The content of the result line. `url` is None if nothing is served."""

    status: Literal["completed", "failed", "cancelled"]
    project: str | None
    job_id: JobId | None = None
    revision: str | None = None
    report: dict[str, Any] | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    url: str | None = None

    def to_data(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "job_id": str(self.job_id) if self.job_id else None,
            "project": self.project,
            "revision": self.revision,
            "url": self.url,
            "checks": self.report,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "error": self.error,
        }


@dataclass(slots=True)
class JobFollower:
    """Reads the session's events from the prompt on. Use once."""

    backend: Backend
    submitted: Submitted
    out: Output
    _completion: Event | None = None
    _url: str | None = None
    _thought: list[str] = field(default_factory=list)
    _block: str = ""

    async def follow(self) -> Outcome:
        """Wait for the job's outcome and, if it completed, for its preview, but not forever."""
        ended: Job | None = None
        try:
            async with asyncio.timeout(None) as limit:
                async for events in self.backend.own.follow(
                    self.submitted.session_id, self.submitted.after_seq
                ):
                    for event in events:
                        self._take(event)
                    if ended is None and (ended := await self._ended(events)) is not None:
                        limit.reschedule(asyncio.get_running_loop().time() + PREVIEW_SECONDS)
                    if ended is not None and (ended.status != "completed" or self._url):
                        break
        except TimeoutError:
            self.out.note("the preview does not become ready; see `mobvibe-tui status`")
        assert ended is not None
        return await self._outcome(ended)

    async def _outcome(self, job: Job) -> Outcome:
        completed = self._completion.data if self._completion else {}
        assert job.status in ("completed", "failed", "cancelled")
        return Outcome(
            job.status,
            self.submitted.project.slug,
            job.id,
            completed.get("revision"),
            completed.get("report"),
            await self.backend.stores.turns.cost_of_job(job.id),
            job.error,
            self._url,
        )

    async def _ended(self, events: list[Event]) -> Job | None:
        """The job if it has its outcome, which is stored together with its last event."""
        ours = [event for event in events if event.job_id == self.submitted.job_id]
        if any(event.type in ("completion", "error") for event in ours):
            job = await self.backend.stores.queue.get(self.submitted.job_id)
            if job.status not in ("pending", "processing"):
                return job
        return None

    def _take(self, event: Event) -> None:
        if event.job_id == self.submitted.job_id:
            if event.type == "completion":
                self._completion = event
            elif event.type == "preview_ready" and self._completion is not None:
                self._url = event.data["url"]
        if self.out.is_json:
            self.out.value({"event": event_data(event)})
        else:
            self._print(event)

    def _print(self, event: Event) -> None:
        """Print one line per event, after joining the pieces of one thought."""
        payload = event.payload
        if isinstance(payload, Thinking) and payload.block == self._block:
            self._thought.append(payload.text)
            return
        if self._thought:
            self.out.line(event_line(Thinking("".join(self._thought))) or "")
            self._thought = []
        if isinstance(payload, Thinking):
            self._block = payload.block
            self._thought = [payload.text]
        elif payload is not None and (line := event_line(payload)):
            self._block = ""
            self.out.line(line)
