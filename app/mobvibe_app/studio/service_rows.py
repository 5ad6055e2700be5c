"""Pure functions that choose the statuses one client shows, and how."""

from __future__ import annotations

from dataclasses import replace

from mobvibe_app.status import ServiceStatus


def is_shown(status: ServiceStatus, project: str | None) -> bool:
    """Whether this client shows a status, which hides healthy previews of other projects.

    A `project` of None is not known yet.
    """
    is_about_it = project is None or status.project in ("", project)
    return status.name != "preview" or status.state == "failed" or is_about_it


def service_row(status: ServiceStatus, running: int | None) -> ServiceStatus:
    """The row that shows a status. `running` is how many jobs this program's worker runs, None if it has no worker."""
    if status.state != "healthy":
        return status
    if status.name == "worker" and running:
        return replace(status, detail=f"{running} running")
    if status.name == "preview" and status.project:
        return replace(status, detail=status.project)
    return status
