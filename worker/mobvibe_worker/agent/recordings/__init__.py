"""Reads the shipped recordings: one TOML file per build, replayed without a key."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mobvibe_worker.agent.model import Block, Turn, Usage
from mobvibe_worker.errors import InputError


@dataclass(frozen=True, slots=True)
class Recording:
    """The turns of one build, in order."""

    name: str
    title: str
    prompt: str
    changes: str | None
    """The recording whose app this one changes; None if it starts a new app."""
    sdks: tuple[int, ...]
    """The Expo SDKs that it was tested with."""
    turns: tuple[Turn, ...]


def load_recordings() -> tuple[Recording, ...]:
    """Every shipped recording, each followed by those that change its app."""
    folder = files(__name__)
    found = [
        parse_recording(tomllib.loads(entry.read_text("utf-8")))
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    ]
    return tuple(sorted(found, key=lambda one: (one.changes or one.name, one.changes is not None)))


def find_recording(name: str) -> Recording:
    """The recording with this name. Raises InputError with the known names."""
    recordings = {recording.name: recording for recording in load_recordings()}
    if name in recordings:
        return recordings[name]
    near = difflib.get_close_matches(name, recordings, n=1)
    guess = f"Did you mean {near[0]}? " if near else ""
    raise InputError(
        f"There is no demo named {name!r}.", f"{guess}There are: {', '.join(recordings)}."
    )


def parse_recording(data: dict[str, Any]) -> Recording:
    """Raises KeyError or TypeError if something is missing."""
    return Recording(
        name=data["name"],
        title=data["title"],
        prompt=data["prompt"].strip(),
        changes=data.get("changes"),
        sdks=tuple(data["sdks"]),
        turns=tuple(_parse_turn(number, turn) for number, turn in enumerate(data["turns"], 1)),
    )


def _parse_turn(number: int, data: dict[str, Any]) -> Turn:
    content = tuple(
        _parse_block(f"toolu_{number}_{place}", block)
        for place, block in enumerate(data["content"], 1)
    )
    return Turn(content, data["stop_reason"], Usage(**data.get("usage", {})), "recording")


def _parse_block(call_id: str, block: dict[str, Any]) -> Block:
    if block["type"] != "tool_use":
        return dict(block)
    return {"type": "tool_use", "id": call_id, "name": block["name"], "input": block["input"]}
