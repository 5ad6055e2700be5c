"""The tool `check`, which runs the checks."""

from __future__ import annotations

from mobvibe_worker.agent.check_gate import describe
from mobvibe_worker.agent.tools.tool import Tool, ToolInput, ToolOutcome, Workbench


class RunChecks(ToolInput):
    """No input."""


async def _check(given: RunChecks, bench: Workbench) -> ToolOutcome:
    report = await bench.gate.check()
    return ToolOutcome(describe(report), is_error=not report.is_green)


CHECK = Tool(
    "check",
    "Runs the checks: TypeScript, dependencies, and the iOS and Android bundles. They also run by themselves "
    "when you end your turn, and the app is only published when all of them pass.",
    RunChecks,
    _check,
)
