"""A loopback server that answers requests with the exact bytes that a test scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

USAGE: dict[str, Any] = {"input_tokens": 25, "output_tokens": 1}


@dataclass
class Answer:
    """One response. If `is_cut` is set, the connection closes in the middle of the body."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False
    stalls: bool = False


@dataclass
class RawServer:
    """The server's address, and the bodies and headers of all requests."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)


def sse(*events: dict[str, Any] | str) -> bytes:
    """Encode server-sent events. A string is sent unchanged."""
    return "".join(
        event
        if isinstance(event, str)
        else f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        for event in events
    ).encode()


def message_start(**usage: Any) -> dict[str, Any]:
    """The first event of every answer."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**USAGE, **usage},
    }
    return {"type": "message_start", "message": message}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """All events of one content block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text_block(text: str, index: int = 0) -> list[dict[str, Any]]:
    """The events of a text block."""
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": text})


def tool_block(partial_json: str, index: int = 0, name: str = "list_files") -> list[dict[str, Any]]:
    """The events of a tool call whose input is this JSON text."""
    start = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    return block(index, start, {"type": "input_json_delta", "partial_json": partial_json})


def ending(stop_reason: str, **usage: int) -> list[dict[str, Any]]:
    """The last events of an answer."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5, **usage}},
        {"type": "message_stop"},
    ]


def error_answer(status: int, kind: str, message: str = "no", **headers: str) -> Answer:
    """A refusal with the Messages API's error body."""
    body = {"type": "error", "error": {"type": kind, "message": message}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps(body).encode(), status, "application/json", named)


@asynccontextmanager
async def raw_server(answers: Iterable[Answer]) -> AsyncIterator[RawServer]:
    """Serve one answer per request, and repeat the last one."""
    scripted = list(answers)
    server_facts = RawServer("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.partition(":")[2])
                for line in head.splitlines()
                if line.lower().startswith("content-length:")
            )
            server_facts.requests.append(json.loads(await reader.readexactly(length)))
            server_facts.headers.append(head)
            answer = scripted.pop(0) if len(scripted) > 1 else scripted[0]
            await _respond(writer, answer, reader)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    server_facts.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield server_facts


async def _respond(
    writer: asyncio.StreamWriter, answer: Answer, reader: asyncio.StreamReader
) -> None:
    lines = [f"HTTP/1.1 {answer.status} X", f"content-type: {answer.content_type}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    length = len(answer.body) + (100 if answer.is_cut or answer.stalls else 0)
    lines += [f"content-length: {length}", "connection: close"]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
    await writer.drain()
    if answer.stalls:
        await reader.read()
