"""Which statuses the services' rows show, of which project, and in which words."""

from __future__ import annotations

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.service_rows import ServiceRows, is_shown, service_row


def test_only_the_selected_projects_preview_and_failed_ones_are_shown() -> None:
    ours = ServiceStatus("preview", "starting", "heron", project="heron")
    assert is_shown(ours, "heron") and is_shown(ours, None)
    assert not is_shown(ours, "osprey")
    assert is_shown(ServiceStatus("preview", "failed", "it crashed", project="heron"), "osprey")
    assert is_shown(ServiceStatus("preview", "building", "the image of SDK 54"), "osprey")
    assert is_shown(ServiceStatus("postgres", "healthy"), "osprey")


def test_the_worker_shows_how_many_jobs_run_and_a_preview_its_project() -> None:
    worker = ServiceStatus("worker", "healthy", "waits for jobs")
    assert service_row(worker, 0) == worker and service_row(worker, None) == worker
    assert service_row(worker, 2).detail == "2 running"
    preview = ServiceStatus("preview", "healthy", "heron (process)", port=8081, project="heron")
    assert (service_row(preview, 0).detail, service_row(preview, 0).port) == ("heron", 8081)
    failed = ServiceStatus("preview", "failed", "it crashed", "See the log.", project="heron")
    assert service_row(failed, 1) == failed


def test_a_row_is_reported_when_it_changes_and_only_then() -> None:
    reported: list[ServiceStatus] = []
    rows = ServiceRows(reported.append)
    worker = ServiceStatus("worker", "healthy", "waits for jobs")
    other = ServiceStatus("preview", "healthy", "osprey", project="osprey")
    for status in (worker, worker, other):
        rows.take(status, "heron")
        rows.show(0)
    rows.show(1)
    assert [row.detail for row in reported] == ["waits for jobs", "1 running"]
