"""What `run` and `preview` print on stderr: the services, and what happens to a running preview."""

from __future__ import annotations

from mobvibe_app.cli.output import Output
from mobvibe_app.preview.facts import PreviewKnown
from mobvibe_app.status import ServiceName
from mobvibe_app.studio.backend import Backend
from mobvibe_app.studio.changes import Change, OnChange, ServiceChanged, TroubleChanged
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.jobs import SessionId


def reported(out: Output, *, without: ServiceName | None = None) -> OnChange:
    """A callback that prints trouble and the status of every service except `without`."""

    def report(change: Change) -> None:
        if isinstance(change, ServiceChanged) and change.status.name != without:
            out.status(change.status)
        elif isinstance(change, TroubleChanged) and change.message:
            out.error(MobvibeError(change.message, change.remedy))

    return report


async def follow_preview(backend: Backend, session_id: SessionId, out: Output) -> None:
    """Print what happens to the session's preview, until cancelled. Raises MobvibeError."""
    address = await backend.mirror.open(session_id)
    if address is None:
        return
    before: PreviewKnown | None = None
    async for known in backend.mirror.monitor.follow(address.slug):
        for line in news(before, known):
            out.note(line)
        before = known


def news(before: PreviewKnown | None, known: PreviewKnown) -> list[str]:
    """The lines for what is new in `known`."""
    lines: list[str] = []
    old, new = before.facts if before else None, known.facts
    if known.hint is not None and (before is None or known.hint != before.hint):
        hint = known.hint
        lines += [f"hint: {hint.message}", f"      {hint.remedy}", f"      see {hint.page}"]
    if new.bundled_at is not None and (old is None or old.bundled_at != new.bundled_at):
        lines.append(f"{new.address} opened the app: bundle {new.bundle_seconds:.1f}s")
    unseen = new.line_count - (old.line_count if old and old.line_count <= new.line_count else 0)
    if unseen:
        lines += [f"phone {line.level}: {line.text}" for line in new.lines[-unseen:]]
    if new.ended is not None and (old is None or old.ended is None):
        lines.append(f"the preview ended: {new.ended or 'it was stopped'}")
    return lines
