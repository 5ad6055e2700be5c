"""Carries out the commands that the dashboard and the command line share.

They take no studio, because a service can also be restarted or rebuilt while its home's database does not start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobvibe_app.studio.commands import CancelJob, RebuildService, RestartService

if TYPE_CHECKING:
    from mobvibe_app.environment.maintenance import Maintenance
    from mobvibe_worker.jobs import JobStatus, SessionId
    from mobvibe_worker.store.stores import Stores


async def cancel_job(
    command: CancelJob, stores: Stores, selected: SessionId | None = None
) -> JobStatus | None:
    """Cancel the job, or ask the worker of a running one to stop. Returns its new status; None if no job is left.

    Raises NotFound.
    """
    job_id = command.job_id
    if job_id is None and selected is not None:
        job_id = await stores.queue.live_job(selected)
    return None if job_id is None else await stores.queue.cancel(job_id)


async def maintain(command: RestartService | RebuildService, maintenance: Maintenance) -> None:
    """Restart or rebuild a service; `preview` means all previews of the home. Raises InputError, ServiceError."""
    if isinstance(command, RestartService):
        await maintenance.restart(command.service)
    else:
        await maintenance.rebuild(command.service)
