"""Two processes install SDK 57 into an empty home, and one of them is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.check_bundler import CheckBundler
from mobvibe_worker.toolchain.checks import ProjectChecker
from mobvibe_worker.toolchain.sandbox import StagedCommands
from support.expo import ExpoSdk
from support.polling import until_gone

pytestmark = [pytest.mark.expo, pytest.mark.timeout(600)]

INSTALLER = """
import asyncio, sys
from pathlib import Path
from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.sdks import sdk
from mobvibe_worker.toolchain.starter import Starter
wanted = sdk(57)
starter = Starter(Home(Path(sys.argv[1])), wanted, find_node(wanted.minimum_node))
asyncio.run(starter.prepare(lambda progress: print(progress.phase, progress.fraction, flush=True)))
"""


async def install(home: Home) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INSTALLER, str(home.root)), stdout=asyncio.subprocess.PIPE
    )


async def lines_until(process: asyncio.subprocess.Process, phase: str) -> list[str]:
    """Read the output up to the first line of this phase. Fails if the process ends before it."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith(phase):
        line = await process.stdout.readline()
        assert line, f"{phase} was never printed: {lines}"
        lines.append(line.decode())
    return lines


async def test_the_sdk_is_complete_if_one_of_two_installers_is_killed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    expo = ExpoSdk(home, 57)
    first = await install(home)
    await lines_until(first, "template")
    second = await install(home)
    await lines_until(second, "waiting")
    await lines_until(first, "packages")
    family = [child.pid for child in psutil.Process(first.pid).children(recursive=True)]
    assert family and not expo.folder.modules.exists()
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    lines = await lines_until(second, "ready")
    assert await second.wait() == 0
    await until_gone(family)
    fractions = [float(line.split()[1]) for line in lines if line.startswith("packages")]
    assert fractions == sorted(fractions) and fractions[-1] > 0.8
    assert expo.starter.is_prepared and not list(expo.folder.root.glob(".install-*"))

    package = json.loads(expo.starter.files("A", "a")["package.json"])
    known = json.loads((expo.folder.modules / "expo" / "bundledNativeModules.json").read_text())
    for name in ("react-dom", "react-native-web", "@expo/metro-runtime"):
        assert package["dependencies"][name] == known[name]

    root = expo.stage("checked")
    async with (
        StagedCommands(root, expo.starter) as commands,
        CheckBundler(root, commands) as bundler,
    ):
        checker = ProjectChecker(root, expo.folder, expo.sdk, commands, bundler, lambda event: None)
        report = await checker.check()
        assert report.is_green, report.problems
        (root / "App.tsx").write_text("import './nope';\nexport default 1 as string;\n")
        report = await checker.check()
    assert [check.is_green for check in report.checks] == [False, True, False, False]


def test_pinned_versions_match_the_sdks_own_list(expo_sdk: ExpoSdk) -> None:
    modules = expo_sdk.folder.modules
    known = json.loads((modules / "expo" / "bundledNativeModules.json").read_text())
    for name, version in expo_sdk.sdk.added.items():
        assert known[name] == version
    held = sum(1 for _ in modules.glob("*/package.json"))
    assert held > 200
