"""The checks on real projects, with real TypeScript and real Metro."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mobvibe_worker.events import Payload, Terminal
from mobvibe_worker.revisions import CHECK_NAMES, CheckReport
from mobvibe_worker.toolchain.check_bundler import SMALLEST_BUNDLE, CheckBundler
from mobvibe_worker.toolchain.checks import ProjectChecker
from mobvibe_worker.toolchain.sandbox import StagedCommands
from support.expo import ExpoSdk
from support.polling import patient, until_gone

pytestmark = [pytest.mark.expo, pytest.mark.timeout(600)]


class Checked:
    """A staged folder with its checker."""

    def __init__(
        self, expo: ExpoSdk, root: Path, commands: StagedCommands, bundler: CheckBundler
    ) -> None:
        self.root = root
        self.bundler = bundler
        self.events: list[Payload] = []
        self.app = (root / "App.tsx").read_text()
        self.checker = ProjectChecker(
            root, expo.folder, expo.sdk, commands, bundler, self.events.append
        )

    async def with_app(self, app: str) -> CheckReport:
        (self.root / "App.tsx").write_text(app)
        return await self.checker.check()


@pytest.fixture
async def checked(expo_sdk: ExpoSdk, request: pytest.FixtureRequest) -> AsyncIterator[Checked]:
    root = expo_sdk.stage(f"checked-{request.node.name}")
    async with (
        StagedCommands(root, expo_sdk.starter) as commands,
        CheckBundler(root, commands) as bundler,
    ):
        yield Checked(expo_sdk, root, commands, bundler)


def places(report: CheckReport, name: str) -> list[str]:
    check = next(check for check in report.checks if check.name == name)
    assert check.is_green is not bool(check.problems)
    return [str(problem) for problem in check.problems]


async def test_every_kind_of_mistake_is_found_at_its_place(checked: Checked) -> None:
    app, root = checked.app, checked.root
    report = await checked.checker.check()
    assert report.is_green and [check.name for check in report.checks] == list(CHECK_NAMES)
    assert report.is_sandboxed is False
    assert all((check.size or SMALLEST_BUNDLE + 1) > SMALLEST_BUNDLE for check in report.checks)
    reported = [event for event in checked.events if isinstance(event, Terminal)]
    assert len(reported) == 4 and {event.outcome for event in reported} == {"passed"}

    report = await checked.with_app("import X from './nope';\nX();\n" + app)
    assert places(report, "ios") == ["App.tsx:1:16: Unable to resolve './nope': no such file."]
    assert places(report, "android") == places(report, "ios")
    assert "App.tsx:1:15: TS2307" in places(report, "types")[0]

    report = await checked.with_app(app.replace("<Text>", "<Text"))
    assert places(report, "ios") == ["App.tsx:7:23: Unexpected token"]

    report = await checked.with_app(app + "\nrequire('./assets/nope.png');\n")
    assert "App.tsx:22:" in places(report, "ios")[0] and not places(report, "types")

    for mistake in (
        "const n: number = 'x'; console.log(n);",
        "import { Nope } from 'react-native'; console.log(Nope);",
    ):
        report = await checked.with_app(f"{app}\n{mistake}\n")
        assert not report.is_green and places(report, "types")[0].startswith("App.tsx:22:")
        assert not places(report, "ios")

    # Attempts to disable the checks or to add a package have no effect.
    (root / "tsconfig.json").write_text('{"compilerOptions": {"strict": false}, "files": []}')
    package = (root / "package.json").read_text()
    (root / "package.json").write_text(package.replace('"expo":', '"left-pad": "1.3.0", "expo":'))
    report = await checked.with_app(f"{app}\nconst m: number = 'x'; console.log(m);\n")
    assert (
        places(report, "types") and "left-pad cannot be added" in places(report, "dependencies")[0]
    )
    failed = [e for e in checked.events if isinstance(e, Terminal) and e.outcome == "failed"]
    assert all(str(root) not in event.output and "\x1b" not in event.output for event in failed)

    (root / "package.json").write_text(package)
    assert (await checked.with_app(app)).is_green


async def test_a_bundle_is_always_built_from_the_current_files(
    checked: Checked, expo_sdk: ExpoSdk
) -> None:
    """Files alternate between green and red and are compiled at once, so stale output is noticed."""
    app, root, bundler = checked.app, checked.root, checked.bundler
    await bundler.compile("ios")
    for turn in range(12):
        name = f"part{turn}"
        if turn % 3 == 0:
            (root / f"folder{turn}").mkdir()
            name = f"folder{turn}/{name}"
        use = f"\nimport {{ a }} from './{name}';\nconsole.log(a);\n"
        (root / "App.tsx").write_text(app + use)
        red = await bundler.compile("ios")
        assert not red.is_green, f"{name} does not exist yet"
        (root / f"{name}.ts").write_text("export const a = 1;\n")
        green = await bundler.compile("ios")
        assert green.is_green, f"{name} exists: {green.problems}"
        (root / f"{name}.ts").write_text("export const a = ;\n")
        assert not (await bundler.compile("ios")).is_green, f"{name} is broken"
        (root / f"{name}.ts").unlink()


async def test_new_nested_folders_and_recreated_ones_are_noticed(checked: Checked) -> None:
    app, root = checked.app, checked.root
    (root / "App.tsx").write_text(f"{app}\nimport {{ a }} from './src/deep/a';\nconsole.log(a);\n")
    assert not (await checked.bundler.compile("android")).is_green
    (root / "src" / "deep").mkdir(parents=True)
    (root / "src" / "deep" / "a.ts").write_text("export const a = 1;\n")
    assert (await checked.bundler.compile("android")).is_green
    (root / "src" / "deep" / "a.ts").unlink()
    (root / "src" / "deep").rmdir()
    (root / "src" / "deep").mkdir()
    assert not (await checked.bundler.compile("android")).is_green
    (root / "src" / "deep" / "a.ts").write_text("export const a = 2;\n")
    assert (await checked.bundler.compile("android")).is_green


async def test_a_killed_metro_is_restarted_and_none_remains(expo_sdk: ExpoSdk) -> None:
    root = expo_sdk.stage("killed")
    async with (
        StagedCommands(root, expo_sdk.starter) as commands,
        CheckBundler(root, commands) as bundler,
    ):
        assert (await bundler.compile("android")).is_green
        first = bundler.pid
        assert first is not None
        family = [first, *(child.pid for child in psutil.Process(first).children(recursive=True))]
        os.kill(first, signal.SIGKILL)
        assert (await bundler.compile("android")).is_green
        second = bundler.pid
        assert second is not None and second != first
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(second).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
    await until_gone([*family, second])


async def test_stopping_during_the_start_is_quick_and_leaves_no_process(expo_sdk: ExpoSdk) -> None:
    root = expo_sdk.stage("left-early")
    before = set(psutil.pids())
    started = time.monotonic()
    async with StagedCommands(root, expo_sdk.starter) as commands, CheckBundler(root, commands):
        await asyncio.sleep(0.3)
    assert time.monotonic() - started < patient(5)
    left = [pid for pid in set(psutil.pids()) - before if _serves(pid, root)]
    assert left == []


def _serves(pid: int, root: Path) -> bool:
    try:
        return bool(psutil.Process(pid).cwd() == str(root))
    except psutil.Error:
        return False
