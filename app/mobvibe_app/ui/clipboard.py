"""Copies to the system's clipboard with the tool of the platform; Textual does it by terminal sequence (OSC 52)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal

TOOLS = (
    ("pbcopy",),
    ("wl-copy",),
    ("xclip", "-selection", "clipboard"),
    ("xsel", "--clipboard", "--input"),
    ("clip.exe",),
)
NEEDS = ("PATH", "HOME", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "LANG")
SECONDS = 2.0


async def copy_with_tool(text: str) -> bool:
    """Pass the text to the first installed tool that accepts it; False if none does."""
    for command in TOOLS:
        program = shutil.which(command[0])
        if program and await _accepts((program, *command[1:]), text):
            return True
    return False


async def _accepts(command: tuple[str, ...], text: str) -> bool:
    nothing = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=nothing,
            stderr=nothing,
            env={name: os.environ[name] for name in NEEDS if name in os.environ},
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(SECONDS):
            await process.communicate(text.encode())
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        return False
    return process.returncode == 0
