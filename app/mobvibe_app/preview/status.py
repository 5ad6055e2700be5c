"""Makes the status of a preview from what is known of it. The same facts always make the same status."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mobvibe_app.status import ServiceStatus

if TYPE_CHECKING:
    from mobvibe_app.preview.address import PreviewAddress
    from mobvibe_worker.errors import MobvibeError


def preview_status(
    slug: str,
    *,
    address: PreviewAddress | None = None,
    ended: str | None = None,
    stopped: str = "stopped",
    error: MobvibeError | None = None,
) -> ServiceStatus:
    """The status of a project's preview: failed, ended, served at an address, or else starting.

    `ended` is the cause; empty if it was stopped, for which `stopped` is the reason.
    """
    if error is not None:
        words = error.message if slug in error.message else f"{slug}: {error.message}"
        return ServiceStatus("preview", "failed", words, error.remedy, project=slug)
    if ended:
        remedy = f"See `mobvibe-tui logs preview-{slug}`."
        return ServiceStatus("preview", "failed", ended, remedy, project=slug, can_start_again=True)
    if ended is not None:
        words = f"{slug}: {stopped}"
        return ServiceStatus("preview", "stopped", words, project=slug, can_start_again=True)
    if address is not None:
        words, port = f"{slug} ({address.mode})", urlsplit(address.metro_url).port
        return ServiceStatus("preview", "healthy", words, port=port, project=slug)
    return ServiceStatus("preview", "starting", slug, project=slug)


def no_preview_yet(starts: str) -> ServiceStatus:
    """The status while nothing is served. `starts` names what it starts with."""
    return ServiceStatus("preview", "waiting", f"starts with the first {starts}")
