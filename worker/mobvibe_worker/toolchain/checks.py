"""Runs all checks of a staged folder: types, dependencies, and compiled bundles for iOS and Android."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.events import Payload, Terminal
from mobvibe_worker.home import SdkFolder
from mobvibe_worker.revisions import Check, CheckName, CheckReport, Problem
from mobvibe_worker.toolchain.check_bundler import CheckBundler
from mobvibe_worker.toolchain.sdks import Sdk
from mobvibe_worker.toolchain.type_check import check_types
from mobvibe_worker.workspace.paths import open_root, read_bytes

if TYPE_CHECKING:
    from mobvibe_worker.toolchain.commands import CommandRunner
    from mobvibe_worker.toolchain.sandbox import StagedCommands

Emit = Callable[[Payload], None]

_MANIFEST = "package.json"
_MANIFEST_LIMIT = 100_000
_SHOWN_PROBLEMS = 5
_FREE_FIELDS = frozenset({"name", "version", "description", "author", "license", "keywords"})
_TITLES: Mapping[CheckName, str] = {
    "types": "check types",
    "dependencies": "check package.json",
    "ios": "bundle for iOS",
    "android": "bundle for Android",
}


class ProjectChecker:
    """Checks one staged folder, repeatedly, each time as it is on disk."""

    def __init__(
        self,
        staged_root: Path,
        folder: SdkFolder,
        sdk: Sdk,
        commands: StagedCommands,
        bundler: CheckBundler,
        emit: Emit,
    ) -> None:
        self._root = staged_root
        self._folder = folder
        self._sdk = sdk
        self._commands = commands
        self._bundler = bundler
        self._emit = emit

    async def check(self) -> CheckReport:
        """Run all checks, and emit an event after each. The folder must not change while they run.

        Raises ServiceError if a check could not run at all, which says nothing about the files.
        """
        runner = await self._commands.runner()
        try:
            async with asyncio.TaskGroup() as group:
                # The types use one core and the bundles another. The bundles share one Metro, so they run in turn.
                types = group.create_task(self._reported(check_types(runner), runner))
                dependencies = group.create_task(self._reported(self._check_dependencies()))
                bundles = group.create_task(self._check_bundles(runner))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        checks = (types.result(), dependencies.result(), *bundles.result())
        return CheckReport(checks, is_sandboxed=runner.is_sandboxed)

    async def _check_bundles(self, runner: CommandRunner) -> tuple[Check, ...]:
        ios = await self._reported(self._bundler.compile("ios"), runner)
        return ios, await self._reported(self._bundler.compile("android"), runner)

    async def _check_dependencies(self) -> Check:
        started = time.monotonic()
        expected = json.loads((self._folder.starter / _MANIFEST).read_bytes())
        problems = await asyncio.to_thread(self._manifest_problems, expected)
        return Check("dependencies", not problems, time.monotonic() - started, problems)

    def _manifest_problems(self, expected: Mapping[str, Any]) -> tuple[Problem, ...]:
        try:
            with open_root(self._root) as root:
                content = read_bytes(root, _MANIFEST, _MANIFEST, _MANIFEST_LIMIT)
            actual = json.loads(content)
        except (WorkspaceError, ValueError, RecursionError) as error:
            return (Problem(f"It cannot be read: {error}", _MANIFEST),)
        if not isinstance(actual, dict):
            return (Problem("It must be a JSON object.", _MANIFEST),)
        return tuple(
            Problem(message, _MANIFEST)
            for message in compare_manifests(actual, expected, self._sdk)
        )

    async def _reported(
        self, checking: Awaitable[Check], runner: CommandRunner | None = None
    ) -> Check:
        """Emit a check's result. `runner` is None for checks that run no command, so no sandbox is named."""
        check = await checking
        sealing = (
            "" if runner is None else " (sandboxed)" if runner.is_sandboxed else " (unsandboxed)"
        )
        shown = [str(problem) for problem in check.problems[:_SHOWN_PROBLEMS]]
        if len(check.problems) > _SHOWN_PROBLEMS:
            shown.append(f"... and {len(check.problems) - _SHOWN_PROBLEMS} more")
        self._emit(
            Terminal(
                _TITLES[check.name] + sealing,
                "passed" if check.is_green else "failed",
                "\n".join(shown),
                round(check.seconds, 2),
            )
        )
        return check


def compare_manifests(
    actual: Mapping[str, Any], expected: Mapping[str, Any], sdk: Sdk
) -> list[str]:
    """One sentence per difference between a project's package.json and the starter's, except in free fields."""
    found = []
    for group in ("dependencies", "devDependencies"):
        found += _compare_packages(actual.get(group, {}), expected.get(group, {}), group, sdk)
    for field in sorted((actual.keys() | expected.keys()) - _FREE_FIELDS):
        if field not in ("dependencies", "devDependencies") and (
            actual.get(field) != expected.get(field)
        ):
            found.append(f'"{field}" must be as in the starter: {json.dumps(expected.get(field))}.')
    return found


def _compare_packages(
    actual: object, expected: Mapping[str, str], group: str, sdk: Sdk
) -> list[str]:
    if not isinstance(actual, dict):
        return [f'"{group}" must be an object.']
    found = []
    for name in sorted(actual.keys() | expected.keys()):
        held, wanted = actual.get(name), expected.get(name)
        if wanted is None:
            found.append(
                f"{name} cannot be added: the packages are those of Expo SDK {sdk.version}."
            )
        elif held != wanted:
            found.append(f"{name} must be {wanted} for Expo SDK {sdk.version}, not {held}.")
    return found
