"""The dashboard in a real pseudo-terminal, which shows it correctly and is restored when it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.polling import patient
from support.scripted_studio import URL
from support.terminal import Terminal

DASHBOARD = Path(__file__).with_name("scripted_dashboard.py")
SIZES = [(80, 24), (120, 40)]
pytestmark = pytest.mark.terminal


class Dashboard(Terminal):
    """The dashboard with a named script, in a terminal of this size."""

    def __init__(self, script: str, ending: Path, size: tuple[int, int], **env: str) -> None:
        self._ending = ending
        paths = os.pathsep.join(path for path in sys.path if path)
        passed_on = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        super().__init__(
            [sys.executable, DASHBOARD, script, ending],
            columns=size[0],
            rows=size[1],
            env={**passed_on, "PYTHONPATH": paths, **env},
        )

    @property
    def ending(self) -> str:
        """How the dashboard ended: whether its studio was closed, and the exit code."""
        return self._ending.read_text()


Open = Callable[..., Dashboard]


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Open]:
    """Opens dashboards and closes them after the test."""
    with ExitStack() as opened:

        def open_one(script: str, size: tuple[int, int] = (80, 24), **env: str) -> Dashboard:
            terminal = Dashboard(script, tmp_path / "ending", size, **env)
            opened.callback(terminal.close)
            return terminal

        yield open_one


@pytest.mark.parametrize("size", SIZES)
def test_a_demo_is_picked_with_keys_and_its_code_is_read_from_the_cells(
    dashboard: Open,
    size: tuple[int, int],
) -> None:
    terminal = dashboard("empty", size)
    terminal.wait_for("Tip splitter")
    terminal.press("enter")
    terminal.wait_for("On the phone")
    if size[0] < 100:
        terminal.press("p")
    assert terminal.wait_for_qr() == URL
    terminal.wait_for(URL)


@pytest.mark.parametrize("rendering", range(3))
@pytest.mark.parametrize("theme", ["mobvibe", "textual-light", "ansi-dark"])
def test_every_rendering_of_the_code_is_readable_in_every_kind_of_theme(
    dashboard: Open, rendering: int, theme: str
) -> None:
    terminal = dashboard("built", (120, 40), TEXTUAL_THEME=theme)
    terminal.wait_for("4 Preview")
    terminal.press("v")
    terminal.wait_for("can't scan?")
    terminal.press(*["v"] * rendering)
    terminal.wait_for(lambda text: "4 Preview" not in text)
    assert terminal.wait_for_qr() == URL


@pytest.mark.parametrize("env", [{}, {"TEXTUAL_THEME": "ansi-dark"}])
def test_without_colour_the_code_stays_black_and_white(
    dashboard: Open, env: dict[str, str]
) -> None:
    terminal = dashboard("built", (120, 40), NO_COLOR="1", **env)
    terminal.wait_for("4 Preview")
    assert terminal.wait_for_qr() == URL


@pytest.mark.parametrize("size", SIZES)
def test_text_from_outside_never_drives_the_terminal(
    dashboard: Open, size: tuple[int, int]
) -> None:
    terminal = dashboard("hostile", size)
    terminal.wait_for("[/b]c")
    terminal.press("d")
    terminal.wait_for("Replay a recorded build")
    terminal.press("enter")
    terminal.wait_for(lambda text: "Replay a recorded build" not in text)
    assert b"PWNED" not in terminal.raw
    terminal.press("i")
    terminal.wait_for("⏎ Send")
    terminal.paste("app/(tabs)/[id].tsx a[/b]c \x1b]0;TYPED\x07pasted")
    terminal.wait_for("pasted")
    terminal.press("enter")
    assert "app/(tabs)/[id].tsx a[/b]c" in terminal.wait_for("pasted")
    assert b"\x1b]0;" not in terminal.raw
    assert b"\x1b[2J" not in terminal.raw
    assert "\u202e" not in terminal.raw.decode("utf-8", "replace")
    assert "PWNED" not in terminal.title and "TYPED" not in terminal.title


def test_the_prompt_is_kept_when_the_studio_refuses_it(dashboard: Open) -> None:
    terminal = dashboard("hostile")
    terminal.wait_for("[/b]c")
    terminal.press("i")
    terminal.wait_for("⏎ Send")
    terminal.type("a chess clock")
    terminal.wait_for("a chess clock")
    terminal.press("enter")
    assert "a chess clock" in terminal.wait_for("✖ app/(tabs)/[id].tsx a[/b]c")


@pytest.mark.parametrize("size", SIZES)
def test_q_quits_and_restores_the_terminal(dashboard: Open, size: tuple[int, int]) -> None:
    terminal = dashboard("built", size)
    terminal.wait_for("On the phone")
    terminal.press("q")
    assert terminal.wait_for_exit() == 0
    assert terminal.is_restored
    assert terminal.ending == "closed=True code=0"


def test_ctrl_c_asks_while_a_job_runs_and_leaves_when_pressed_again(dashboard: Open) -> None:
    terminal = dashboard("running")
    terminal.wait_for("check types")
    terminal.press("ctrl+c")
    terminal.wait_for("Quit?")
    assert terminal.process.poll() is None
    terminal.press("ctrl+c")
    assert terminal.wait_for_exit() == 0
    assert terminal.is_restored
    assert terminal.ending == "closed=True code=0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_dashboard_and_restores_the_terminal(
    dashboard: Open, number: signal.Signals
) -> None:
    terminal = dashboard("running")
    terminal.wait_for("check types")
    terminal.process.send_signal(number)
    assert terminal.wait_for_exit() == 128 + number
    assert terminal.is_restored
    assert terminal.ending == f"closed=True code={128 + number}"


def test_closing_the_window_ends_the_dashboard(dashboard: Open) -> None:
    terminal = dashboard("running")
    terminal.wait_for("check types")
    terminal.hang_up()
    terminal.process.wait(patient(15))
    assert terminal.ending == f"closed=True code={128 + signal.SIGHUP}"


def test_an_unexpected_error_of_the_studio_is_shown_on_the_screen(dashboard: Open) -> None:
    terminal = dashboard("raising", (120, 40))
    text = terminal.wait_for("Something broke (RuntimeError: app/(tabs)/[id].tsx a[/b]c")
    assert "Traceback" not in text
    terminal.press("q")
    assert terminal.wait_for_exit() == 0
    assert terminal.is_restored


def test_a_failure_of_the_screen_itself_restores_the_terminal(dashboard: Open) -> None:
    terminal = dashboard("impossible")
    assert terminal.wait_for_exit() == 1
    assert terminal.is_restored
    assert terminal.ending == "closed=True code=1"
    assert "AttributeError" in terminal.text


def test_a_terminal_that_is_too_small_shows_the_needed_size(dashboard: Open) -> None:
    terminal = dashboard("built", (52, 12))
    terminal.wait_for("needs 60×16, is 52×12")
    terminal.resize(80, 24)
    terminal.wait_for("On the phone")
