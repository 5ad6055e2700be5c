"""Remembered choices are complete or absent, even if several programs write at the same time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from mobvibe_app.supervisor.choices import Choices
from mobvibe_worker.errors import ServiceError
from support.polling import patient


def remember_many(path: Path, start: int) -> None:
    for number in range(start, start + 50):
        Choices(path).remember_port(f"preview:{number}", number)


def test_choices_are_remembered_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    assert Choices(path).read() == {} and Choices(path).get("postgres") is None
    Choices(path).remember("postgres", "embedded")
    Choices(path).remember_port("postgres", 15432)
    assert Choices(path).get("postgres") == "embedded"
    assert Choices(path).ports() == {"postgres": 15432}


def test_a_port_belongs_to_the_last_service_that_took_it(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "choices.json")
    choices.remember_port("preview:one", 8081)
    choices.remember_port("preview:two", 8081)
    assert choices.ports() == {"preview:two": 8081}


def test_four_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=remember_many, args=(path, start))
        for start in (1000, 2000, 3000, 4000)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(patient(60))
        assert writer.exitcode == 0
    assert len(Choices(path).ports()) == 200
    assert not list(tmp_path.glob(".choices-*"))


@pytest.mark.parametrize("content", ['{"ports": ', "[]", '{"ports": 3}'])
def test_a_damaged_file_is_reported_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "choices.json"
    path.write_text(content)
    with pytest.raises(ServiceError, match="cannot be read") as caught:
        Choices(path).remember_port("postgres", 1)
    assert caught.value.remedy
    assert path.read_text() == content
