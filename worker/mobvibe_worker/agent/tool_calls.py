"""Runs the tool calls of one turn: consecutive reads concurrently, everything else in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from mobvibe_worker.agent.model import Block
from mobvibe_worker.agent.repetition import Repetition
from mobvibe_worker.agent.tools.tool import Tool, ToolOutcome, Workbench
from mobvibe_worker.events import Payload
from mobvibe_worker.sanitize import Redactor

RESULT_LIMIT = 100_000
"""The longest result that the model receives, characters."""


@dataclass(slots=True)
class ToolCalls:
    """Runs tool calls, emits their events, and keeps secrets out of both."""

    tools: dict[str, Tool[Any]]
    bench: Workbench
    emit: Callable[[Payload], None]
    redact: Redactor
    _repetition: Repetition = field(default_factory=Repetition)

    async def run(self, calls: tuple[Block, ...]) -> list[Block]:
        """Return one tool_result per call, in order, and a hint if the model repeats itself. Raises LimitReached."""
        outcomes: list[ToolOutcome] = []
        for reads_only, group in groupby(calls, key=self._reads_only):
            batch = list(group)
            if reads_only:
                outcomes += await _gather([self._run_one(call) for call in batch])
            else:
                outcomes += [await self._run_one(call) for call in batch]
        results = [_result(call, outcome) for call, outcome in zip(calls, outcomes, strict=True)]
        hints = [
            hint
            for call, outcome in zip(calls, outcomes, strict=True)
            if (hint := self._repetition.add(call, outcome.text))
        ]
        return results + [{"type": "text", "text": hint} for hint in hints[:1]]

    def _reads_only(self, call: Block) -> bool:
        tool = self.tools.get(str(call.get("name")))
        return tool is not None and tool.reads_only

    async def _run_one(self, call: Block) -> ToolOutcome:
        tool = self.tools.get(str(call.get("name")))
        if tool is None:
            names = ", ".join(self.tools)
            return ToolOutcome(f"There is no such tool. There are: {names}.", is_error=True)
        if self._holds_secret(call.get("input")):
            return ToolOutcome(
                "That holds a secret of this machine, so it was not used. Leave it out.",
                is_error=True,
            )
        outcome = await tool(call.get("input"), self.bench)
        for event in outcome.events:
            self.emit(event)
        return outcome

    def _holds_secret(self, value: object) -> bool:
        match value:
            case str():
                return self.redact(value) != value
            case dict():
                return any(self._holds_secret(inner) for inner in value.values())
            case list():
                return any(self._holds_secret(inner) for inner in value)
            case _:
                return False


async def _gather(runs: list[Any]) -> list[ToolOutcome]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run) for run in runs]
    return [task.result() for task in tasks]


def _result(call: Block, outcome: ToolOutcome) -> Block:
    text = outcome.text
    if len(text) > RESULT_LIMIT:
        text = f"{text[:RESULT_LIMIT]}\n[cut]"
    result: Block = {"type": "tool_result", "tool_use_id": call["id"], "content": text}
    return {**result, "is_error": True} if outcome.is_error else result


def refuse_all(calls: tuple[Block, ...], reason: str) -> list[Block]:
    """One error result per call, for calls that were not carried out."""
    return [_result(call, ToolOutcome(reason, is_error=True)) for call in calls]
