"""Every command that the program recommends exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mobvibe_app
import mobvibe_worker
from mobvibe_app.cli.arguments import parser

SOURCES = [
    file
    for package in (mobvibe_app, mobvibe_worker)
    for file in sorted(Path(package.__path__[0]).rglob("*.py"))
]


def test_every_command_in_backticks_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = {
        (file.name, command)
        for file in SOURCES
        for command in re.findall(r"`mobvibe-tui ([a-z][^`{]*)", file.read_text("utf-8"))
    }
    assert named
    for place, command in sorted(named):
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*command.split(), "--help"])
        assert ended.value.code == 0, f"{place}: mobvibe-tui {command}: {capsys.readouterr().err}"
    assert not [command for _, command in named if "--all" in command.split()]
