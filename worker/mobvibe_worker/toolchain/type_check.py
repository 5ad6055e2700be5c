"""The type check: runs the pinned TypeScript on a staged folder, with settings from outside of it."""

from __future__ import annotations

import json
import re
import time
from pathlib import PurePath

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.revisions import Check, Problem
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.toolchain.commands import CommandRunner, InputFile

_TIME_LIMIT = 180.0
_MOST_PROBLEMS = 50
_LINE = re.compile(
    r"^(?:(?P<path>.+?)\((?P<line>\d{1,9}),(?P<column>\d{1,9})\): )?error (?P<rest>TS\d+: .*)$"
)
_DETAIL = re.compile(r"^\s+\S")
_DETAIL_LIMIT = 800


async def check_types(runner: CommandRunner) -> Check:
    """Run tsc on every TypeScript file of the staged folder. Raises ServiceError if tsc itself fails.

    The project's own tsconfig.json is ignored, so no file in the folder can switch the check off.
    """
    started = time.monotonic()
    tsc = runner.modules / "typescript" / "bin" / "tsc"
    finished = await runner.run(
        ("node", tsc, "--noEmit", "--pretty", "false", "-p", _settings(runner)),
        time_limit=_TIME_LIMIT,
    )
    seconds = time.monotonic() - started
    if finished.timed_out:
        slow = Problem(f"The type check took longer than {_TIME_LIMIT:.0f} s. Simplify the types.")
        return Check("types", False, seconds, (slow,))
    problems = parse_types(clean_text(finished.output), runner.project)
    if finished.exit_code and not problems:
        raise ServiceError(
            f"The type check did not run: {clean_text(finished.output).strip()[-300:]}",
            "Run `mobvibe-tui doctor`, then retry the job.",
        )
    return Check("types", not finished.exit_code, seconds, problems)


def parse_types(output: str, root: PurePath) -> tuple[Problem, ...]:
    """tsc's output as problems with paths relative to the project at `root`; indented lines continue a message."""
    found: list[Problem] = []
    for line in output.splitlines():
        if match := _LINE.match(line):
            path = match["path"]
            found.append(
                Problem(
                    _relative(match["rest"], root),
                    None if path is None else _relative(path, root),
                    None if path is None else int(match["line"]),
                    None if path is None else int(match["column"]),
                )
            )
        elif found and _DETAIL.match(line) and len(found[-1].message) < _DETAIL_LIMIT:
            last = found[-1]
            longer = f"{last.message}\n{_relative(line.rstrip(), root)}"[:_DETAIL_LIMIT]
            found[-1] = Problem(longer, last.path, last.line, last.column)
    if len(found) > _MOST_PROBLEMS:
        more = Problem(f"... and {len(found) - _MOST_PROBLEMS} more type errors")
        found = [*found[:_MOST_PROBLEMS], more]
    return tuple(found)


def _relative(text: str, root: PurePath) -> str:
    return text.replace(f"{root}/", "").replace(f"{root.parent.name}/{root.name}/", "")


def _settings(runner: CommandRunner) -> InputFile:
    settings = {
        "extends": str(runner.modules / "expo" / "tsconfig.base.json"),
        "compilerOptions": {
            "strict": True,
            "noEmit": True,
            "typeRoots": [str(runner.modules / "@types")],
        },
        "files": [str(runner.modules / "expo" / "types" / "index.d.ts")],
        "include": [f"{runner.project}/**/*.ts", f"{runner.project}/**/*.tsx"],
        "exclude": [f"{runner.project}/node_modules", f"{runner.project}/**/.*"],
    }
    return InputFile(".json", json.dumps(settings))
