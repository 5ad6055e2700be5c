"""The rows that show the services to one client."""

from __future__ import annotations

from dataclasses import replace

from mobvibe_app.status import OnStatus, ServiceName, ServiceStatus


class ServiceRows:
    """The only writer of the services' rows. A row is reported only if it changed."""

    def __init__(self, on_row: OnStatus) -> None:
        self._on_row = on_row
        self._statuses: dict[ServiceName, ServiceStatus] = {}
        self._rows: dict[ServiceName, ServiceStatus] = {}

    def take(self, status: ServiceStatus, project: str | None) -> None:
        """Take over a status, unless it is hidden from a client that shows this project. `show` reports it."""
        if is_shown(status, project):
            self._statuses[status.name] = status

    def show(self, running: int | None) -> None:
        """Report the rows that changed. `running` is as for `service_row`."""
        for status in self._statuses.values():
            row = service_row(status, running)
            if self._rows.get(row.name) != row:
                self._rows[row.name] = row
                self._on_row(row)


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
