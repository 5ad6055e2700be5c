"""Hard-linked starter files can be read, and a missing one is an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.node import Node
from mobvibe_worker.toolchain.sdks import sdk
from mobvibe_worker.toolchain.starter import Starter
from mobvibe_worker.toolchain.template import NEEDED_FILES


def test_a_hard_linked_starter_is_read_and_a_missing_file_is_named(tmp_path: Path) -> None:
    starter = Starter(Home(tmp_path / "home"), sdk(57), Node(Path("node"), ("npm",), (22, 13, 0)))
    starter.folder.starter.mkdir(parents=True)
    for name in NEEDED_FILES:
        (tmp_path / name).write_text('{"expo": {}}')
        os.link(tmp_path / name, starter.folder.starter / name)
    assert starter.files("A", "a").keys() == NEEDED_FILES
    (starter.folder.starter / "app.json").unlink()
    with pytest.raises(ServiceError, match=r"lacks app\.json"):
        starter.files("A", "a")
