"""The status of a preview follows from what is known of it."""

from __future__ import annotations

from uuid import UUID

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.status import no_preview_yet, preview_status
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.jobs import SessionId


def test_each_fact_has_one_status() -> None:
    address = PreviewAddress(
        SessionId(UUID(int=1)), "exp://h:8081", 57, "Expo Go", "http://h:8081", slug="heron"
    )
    served = preview_status("heron", address=address)
    assert (served.state, served.detail, served.port) == ("healthy", "heron (process)", 8081)
    assert preview_status("heron").state == "starting"
    assert no_preview_yet("build").detail == "starts with the first build"

    crashed, stopped = preview_status("heron", ended="It ended."), preview_status("heron", ended="")
    assert (crashed.state, crashed.detail) == ("failed", "It ended.")
    assert "logs preview-heron" in crashed.remedy
    assert (stopped.state, stopped.detail) == ("stopped", "heron: stopped")
    assert crashed.can_start_again and stopped.can_start_again
    idle = preview_status("heron", ended="", stopped="no phone for 30 minutes")
    assert idle.detail == "heron: no phone for 30 minutes"


def test_a_failure_names_its_project_once() -> None:
    unnamed = preview_status("heron", error=ServiceError("No port is free.", "Wait."))
    assert (unnamed.detail, unnamed.remedy) == ("heron: No port is free.", "Wait.")
    named = preview_status("heron", error=ServiceError("The preview of heron ended: 1"))
    assert named.detail == "The preview of heron ended: 1"
    assert not named.can_start_again
