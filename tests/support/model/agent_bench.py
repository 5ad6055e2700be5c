"""A bench for the agent, with scripted turns, a ledger in memory and a simple checker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from mobvibe_worker.agent.limits import Limits
from mobvibe_worker.agent.loop import AgentLoop, AgentResult
from mobvibe_worker.agent.model import Block, Model, Turn, Usage
from mobvibe_worker.agent.recorded_model import RecordedModel
from mobvibe_worker.agent.recordings import Recording
from mobvibe_worker.events import Payload
from mobvibe_worker.revisions import CHECK_NAMES, Check, CheckReport, Problem
from mobvibe_worker.sanitize import Redactor
from mobvibe_worker.workspace.staged import StagedFolder

USAGE = Usage(input_tokens=100, output_tokens=10)


def says(text: str, stop_reason: str | None = "end_turn") -> Turn:
    """A turn with only text."""
    return Turn(({"type": "text", "text": text},), stop_reason, USAGE, "scripted")


def calls(*uses: tuple[str, dict[str, Any]], stop_reason: str = "tool_use") -> Turn:
    """A turn of tool calls."""
    content = tuple(
        {"type": "tool_use", "id": f"call_{n}", "name": name, "input": given}
        for n, (name, given) in enumerate(uses)
    )
    return Turn(content, stop_reason, USAGE, "scripted")


def writes(path: str, content: str) -> Turn:
    """A turn that writes one file."""
    return calls(("write_file", {"path": path, "content": content}))


def scripted(*turns: Turn) -> RecordedModel:
    """A model that answers with these turns without delay."""
    return RecordedModel(Recording("script", "Script", "", None, (54,), turns), pace=0)


@dataclass
class BraceChecker:
    """A checker that reports green if every source file closes its braces."""

    root: Path
    runs: int = 0
    delay: float = 0.0

    async def check(self) -> CheckReport:
        self.runs += 1
        await asyncio.sleep(self.delay)
        problems = tuple(
            Problem("a brace is not closed", path=file.name, line=1)
            for file in sorted(self.root.rglob("*.ts*"))
            if file.read_text().count("{") != file.read_text().count("}")
        )
        checks = [Check("types", not problems, 0.0, problems)]
        return CheckReport((*checks, *(Check(name, True, 0.0) for name in CHECK_NAMES[1:])))


@dataclass
class MemoryLedger:
    """A ledger that records what the loop reserves and settles."""

    reserved: list[tuple[int, str, Decimal | None]] = field(default_factory=list)
    settled: list[tuple[int, dict[str, Any], Decimal | None]] = field(default_factory=list)

    async def reserve(self, turn: int, model: str, usd: Decimal | None) -> None:
        self.reserved.append((turn, model, usd))

    async def settle(
        self, turn: int, record: dict[str, Any], usage: dict[str, Any], cost_usd: Decimal | None
    ) -> None:
        self.settled.append((turn, record, cost_usd))


@dataclass
class AgentBench:
    """Runs the loop on one folder and collects its events, checks and turns."""

    root: Path
    secrets: tuple[str, ...] = ()
    limits: Limits = field(default_factory=lambda: Limits(backoff_seconds=0.01))
    events: list[Payload] = field(default_factory=list)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def __post_init__(self) -> None:
        self.staged = StagedFolder(self.root)
        self.checker = BraceChecker(self.root)

    async def run(self, model: Model, prompt: str = "an app", attempt: int = 1) -> AgentResult:
        """Run the real loop on a prompt."""
        loop = AgentLoop(
            model=model,
            staged=self.staged,
            checker=self.checker,
            ledger=self.ledger,
            emit=self.events.append,
            redact=Redactor(self.secrets),
            attempt=attempt,
            limits=self.limits,
        )
        return await loop.run(prompt)

    def results(self) -> list[Block]:
        """All tool results that the model received, in order."""
        return [
            block
            for _, record, _ in self.ledger.settled
            for message in record.get("sent", [])
            for block in message["content"]
            if block["type"] == "tool_result"
        ]

    def sent_text(self) -> str:
        """All text that was sent to the model, except tool results."""
        return "\n".join(
            block["text"]
            for _, record, _ in self.ledger.settled
            for message in record.get("sent", [])
            for block in message["content"]
            if block["type"] == "text"
        )
