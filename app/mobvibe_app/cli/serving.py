"""What `run --keep` says while it serves: phones that come, what the app's console says, why a phone shows nothing."""

from __future__ import annotations

from mobvibe_app.cli.output import Output
from mobvibe_app.preview.facts import PreviewKnown
from mobvibe_app.studio.studio import Connected
from mobvibe_worker.jobs import SessionId


async def follow_preview(connected: Connected, session_id: SessionId, out: Output) -> None:
    """Print, on stderr, what becomes known of the session's preview; until cancelled. Raises MobvibeError."""
    address = await connected.preview_host.open(session_id)
    if address is None:
        return
    before: PreviewKnown | None = None
    async for known in connected.preview_host.upkeep.watches.follow(address.slug):
        for line in news(before, known):
            out.note(line)
        before = known


def news(before: PreviewKnown | None, known: PreviewKnown) -> list[str]:
    """The lines by which `known` goes beyond what was known before."""
    lines: list[str] = []
    old, new = before.facts if before else None, known.facts
    if known.hint is not None and (before is None or known.hint != before.hint):
        hint = known.hint
        lines += [f"hint: {hint.message}", f"      {hint.remedy}", f"      see {hint.page}"]
    if new.bundled_at is not None and (old is None or old.bundled_at != new.bundled_at):
        lines.append(f"{new.address} opened the app: bundle {new.bundle_seconds:.1f}s")
    unseen = new.said - (old.said if old and old.said <= new.said else 0)
    if unseen:
        lines += [f"phone {line.level}: {line.text}" for line in new.lines[-unseen:]]
    if new.ended is not None and (old is None or old.ended is None):
        lines.append(f"the preview ended: {new.ended or 'it was stopped'}")
    return lines
