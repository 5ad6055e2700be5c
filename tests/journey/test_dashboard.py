"""The dashboard in a pseudo-terminal, used with keys; the QR code is read from the cells, as a camera does."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time

import pytest

from journey.conftest import processes_of
from mobvibe_worker.home import Home
from support.phone import Phone
from support.polling import patient, until
from support.terminal import Terminal

pytestmark = [pytest.mark.expo, pytest.mark.terminal, pytest.mark.timeout(900)]

BUILD_SECONDS = 300.0
PAINT_SECONDS = 5.0


def dashboard(home: Home, columns: int, rows: int) -> Terminal:
    """Start the dashboard in a terminal of this size."""
    return Terminal(
        (sys.executable, "-m", "mobvibe_app"),
        columns=columns,
        rows=rows,
        env={**os.environ, "MOBVIBE_HOME": str(home.root), "MOBVIBE_DEMO_PACE": "0"},
    )


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
async def test_a_demo_can_be_picked_built_and_scanned(home: Home, columns: int, rows: int) -> None:
    with dashboard(home, columns, rows) as terminal:
        await asyncio.to_thread(terminal.wait_for, "mobvibe", PAINT_SECONDS)
        await asyncio.to_thread(terminal.wait_for, re.compile("recorded build|Done in"), 60)
        await _pick(terminal)
        await asyncio.to_thread(
            terminal.wait_for,
            lambda text: "Done in" in text and "1 running" not in text,
            BUILD_SECONDS,
        )
        await asyncio.to_thread(
            terminal.wait_for, "preview ready" if columns < 100 else "exp://", 60
        )
        if columns < 100:
            terminal.press("p")
        url = await asyncio.to_thread(terminal.wait_for_qr, 60)
        manifest = await Phone(url).manifest()
        assert manifest["runtimeVersion"] == "exposdk:54.0.0"
        assert "Pomodoro" in manifest["extra"]["expoClient"]["name"]
        await asyncio.to_thread(terminal.wait_for, "Expo Go", 60)
        if columns < 100:
            terminal.press("escape")
            await asyncio.to_thread(terminal.wait_for, lambda text: "Scan with" not in text, 60)
        terminal.press("q")
        assert await asyncio.to_thread(terminal.wait_for_exit) == 0
        assert terminal.is_restored
    await until(lambda: not processes_of(home), 60, "nothing is left running")


async def test_a_restarted_dashboard_shows_the_same_build_and_code(home: Home) -> None:
    with dashboard(home, 120, 40) as terminal:
        await asyncio.to_thread(terminal.wait_for, re.compile("Done in"), 60)
        await asyncio.to_thread(terminal.wait_for_qr, 60)
        before = time.monotonic()
        terminal.press("q")
        await asyncio.to_thread(terminal.wait_for_exit)
        assert time.monotonic() - before < patient(15)
        assert terminal.is_restored


async def _pick(terminal: Terminal) -> None:
    """Replay the second demo, the pomodoro timer, from the list on the empty screen or from the picker."""
    if "recorded build" not in terminal.text:
        terminal.press("d")
        await asyncio.to_thread(terminal.wait_for, "habit tracker", 60)
    terminal.press("down")
    terminal.press("enter")
    # An earlier build's "Done in" may still be on the screen, so wait until the picked one runs.
    await asyncio.to_thread(terminal.wait_for, "1 running", 60)
