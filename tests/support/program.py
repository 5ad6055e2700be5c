"""Runs the program as a process, as a user does, and reads its output and exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.polling import within

START_SECONDS = 600.0


@dataclass
class Program:
    """One running `mobvibe-tui` process."""

    process: asyncio.subprocess.Process
    objects: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(
        cls, home: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> Program:
        """Start the program on a home, with recordings at full speed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mobvibe_app", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "MOBVIBE_HOME": str(home),
                "MOBVIBE_DEMO_PACE": "0",
                **(env or {}),
            },
            limit=16_000_000,
        )
        program = cls(process)
        assert process.stdout and process.stderr
        program._readers = [
            asyncio.create_task(program._read(process.stdout, is_stdout=True)),
            asyncio.create_task(program._read(process.stderr, is_stdout=False)),
        ]
        return program

    async def _read(self, stream: asyncio.StreamReader, *, is_stdout: bool) -> None:
        async for line in stream:
            text = line.decode()
            self.lines.append(text.rstrip("\n"))
            if is_stdout and text.startswith("{"):
                self.objects.append(json.loads(text))

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that the program printed."""
        return [found["event"] for found in self.objects if "event" in found]

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        """The printed events of one type."""
        return [event for event in self.events if event["type"] == kind]

    async def until_event(self, matches: Any, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait for a printed event that matches."""
        return await self._until(lambda: next(filter(matches, self.events), None), seconds)

    async def result(self, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait for the result, of which there is exactly one."""
        found = await self._until(
            lambda: next((one["result"] for one in self.objects if "result" in one), None), seconds
        )
        assert sum("result" in one for one in self.objects) == 1
        return found

    async def _until(self, look: Any, seconds: float) -> dict[str, Any]:
        try:
            async with within(seconds):
                while (found := look()) is None:
                    assert self.process.returncode is None, self.output
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s:\n{self.output}") from None
        assert isinstance(found, dict)
        return found

    @property
    def output(self) -> str:
        """The last 4,000 characters that the program printed."""
        return "\n".join(self.lines)[-4000:]

    async def ended(self, seconds: float = START_SECONDS) -> int:
        """Wait until the program exits. Returns the exit code."""
        async with within(seconds):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def interrupt(self, seconds: float = 60.0) -> int:
        """Send SIGINT, as ctrl+c does. Returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return await self.ended(seconds)

    async def kill(self) -> None:
        """Send SIGKILL and wait until the program has exited."""
        self.process.kill()
        await self.ended(10)


async def run_program(home: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Program:
    """Run the program until it exits."""
    program = await Program.start(home, *arguments, env=env)
    await program.ended()
    return program
