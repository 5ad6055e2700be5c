"""Plays one of our recordings through aimock, an independent local implementation of the Messages API."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mobvibe_worker.agent.model import Turn
from mobvibe_worker.agent.recordings import Recording
from mobvibe_worker.processes.guarded import PIPE, GuardedProcess
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.toolchain.node import find_node
from support.cache import locked
from support.polling import patient

PACKAGE = "@copilotkit/aimock@1.43.0"
_LISTENING = re.compile(rb"listening on (http://127\.0\.0\.1:\d+)")


def install_aimock() -> Path:
    """Install aimock into the tests' cache, once per machine. Returns its program."""
    with locked("aimock") as folder:
        program = folder / "node_modules/@copilotkit/aimock/dist/cli.js"
        if not program.is_file():
            (folder / "package.json").write_text("{}")
            npm = find_node((20, 0)).npm_argv
            subprocess.run(
                [*npm, "install", "--ignore-scripts", "--no-audit", PACKAGE],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=patient(120),
            )
    return program


@asynccontextmanager
async def aimock(program: Path, recording: Recording, folder: Path) -> AsyncIterator[str]:
    """Serve the recording's turns. Yields the server's address."""
    fixtures = folder / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": _fixtures(recording)}))
    node = find_node((20, 0))
    argv: list[str | Path] = [
        node.executable,
        program,
        "-p",
        "0",
        "-f",
        fixtures,
        "--strict",
        "--chunk-size",
        "50",
    ]
    process = await GuardedProcess.start(argv, cwd=folder, env=allowed_environment(), stdout=PIPE)
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            if found := _LISTENING.search(line):
                yield found.group(1).decode()
                return
        raise AssertionError("aimock exited before it listened")
    finally:
        await process.stop()


def _fixtures(recording: Recording) -> list[dict[str, Any]]:
    """One fixture per turn, because aimock selects it by the number of answers in the request's history."""
    return [
        {"match": {"turnIndex": number}, "response": _response(turn)}
        for number, turn in enumerate(recording.turns)
    ]


def _response(turn: Turn) -> dict[str, Any]:
    thoughts = [block["thinking"] for block in turn.content if block["type"] == "thinking"]
    uses = [
        {"id": call["id"], "name": call["name"], "arguments": json.dumps(call["input"])}
        for call in turn.tool_calls
    ]
    response = {
        "content": turn.text,
        "reasoning": "\n\n".join(thoughts),
        "reasoningSignature": "signature" if thoughts else "",
        "toolCalls": uses,
    }
    return {name: value for name, value in response.items() if value}
