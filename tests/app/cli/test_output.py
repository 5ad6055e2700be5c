"""What a command says while services start: enough to follow, not a line for every package."""

from __future__ import annotations

import pytest

from mobvibe_app.cli.output import Output
from mobvibe_app.status import ServiceState, ServiceStatus


def said(
    capsys: pytest.CaptureFixture[str], *reported: tuple[ServiceState, str, float | None]
) -> list[str]:
    out = Output(is_json=True)
    for state, detail, progress in reported:
        out.status(ServiceStatus("starter", state, detail, progress=progress))
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err.splitlines()


def test_a_download_is_reported_once_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(
        capsys,
        *[("downloading", f"{number} of 500 packages", number / 500) for number in range(501)],
        ("healthy", "SDK 54", None),
    )
    assert [line.split()[2] for line in lines[:-1]] == [f"{tenth}%" for tenth in range(0, 101, 10)]
    assert lines[3] == "starter   downloading 30%  150 of 500 packages"
    assert lines[-1] == "starter   healthy  SDK 54"


def test_steps_without_a_known_end_are_all_reported(capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[ServiceState, str, float | None]] = [
        ("starting", "making the database, once", None),
        ("starting", "migrations", None),
        ("starting", "migrations", None),
    ]
    assert len(said(capsys, *steps)) == 2
