"""A command reports the progress of starting services without printing a line for every package."""

from __future__ import annotations

import pytest

from mobvibe_app.cli.output import Output
from mobvibe_app.status import ServiceState, ServiceStatus


def reported_lines(
    capsys: pytest.CaptureFixture[str], *statuses: tuple[ServiceState, str, float | None]
) -> list[str]:
    out = Output(is_json=True)
    for state, detail, progress in statuses:
        out.status(ServiceStatus("starter", state, detail, progress=progress))
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err.splitlines()


def test_a_download_is_reported_every_ten_percent(capsys: pytest.CaptureFixture[str]) -> None:
    lines = reported_lines(
        capsys,
        *[("downloading", f"{number} of 500 packages", number / 500) for number in range(501)],
        ("healthy", "SDK 54", None),
    )
    assert [line.split()[2] for line in lines[:-1]] == [f"{tenth}%" for tenth in range(0, 101, 10)]
    assert lines[3] == "starter   downloading 30%  150 of 500 packages"
    assert lines[-1] == "starter   healthy  SDK 54"


def test_steps_without_a_percentage_are_each_reported_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps: list[tuple[ServiceState, str, float | None]] = [
        ("starting", "making the database, once", None),
        ("starting", "migrations", None),
        ("starting", "migrations", None),
    ]
    assert len(reported_lines(capsys, *steps)) == 2
