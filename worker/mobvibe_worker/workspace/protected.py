"""What the model may not write: code that runs on this machine, and text that disables the checks."""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = frozenset(
    {
        "package.json",
        "package-lock.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lockb",
        "npm-shrinkwrap.json",
        "tsconfig.json",
        "jsconfig.json",
        "app.json",
        "eas.json",
        "expo-env.d.ts",
        "agents.md",
        "claude.md",
        "patches",
    }
)
_PATTERNS: Final = (
    re.compile(r".*\.config(\.[a-z0-9]+)?\.(js|cjs|mjs|jsx|ts|cts|mts|tsx|json)"),
    re.compile(r"(metro|babel|app|eslint|jest|webpack|react-native)\.config\..*"),
    re.compile(r"tsconfig\..*"),
)
_LOCKED_FOLDERS: Final = frozenset({"node_modules", "patches", "plugins"})
_PLACEHOLDER = re.compile(
    r"(?:\{?/\*|//|<!--|#)[^\n]{0,40}"
    r"(?:rest of (?:the |your )?(?:\w+ ){0,3}"
    r"(?:unchanged|the same|remains|here|code|file|component|styles|imports)"
    r"|(?:existing|previous|other|remaining) (?:code|imports|styles|components?|routes|functions)"
    r"(?: \w+){0,3} (?:unchanged|the same|here|as before|remain)"
    r"|code (?:remains )?unchanged|same as before|unchanged code|\.\.\. ?existing code)",
    re.IGNORECASE,
)
_SWITCHED_OFF = re.compile(r"@ts-nocheck|/\*\s*eslint-disable\s*\*/")
_SILENCED = re.compile(r"@ts-(?:ignore|expect-error)|eslint-disable")
_MOST_SILENCED = 2
_SHRINK_FLOOR = 400
_SOURCE = re.compile(r".*\.(?:[cm]?[jt]sx?)")


def why_protected(path: str) -> str | None:
    """Why the model may not write this path; None if it may."""
    parts = [part.lower() for part in path.split("/")]
    if any(part.startswith(".") for part in parts):
        return f"{path} is protected: hidden files and folders belong to the person's tools."
    if set(parts[:-1]) & _LOCKED_FOLDERS or parts[-1] in _LOCKED_FOLDERS:
        return f"{path} is protected: the app's packages are fixed by its Expo SDK."
    if parts[-1] in _NAMES or any(pattern.fullmatch(parts[-1]) for pattern in _PATTERNS):
        return (
            f"{path} is protected: packages, settings and build configuration are fixed. "
            "Solve it in the app's own source files."
        )
    return None


def objection_to(
    path: str, before: str | None, after: str, *, replaces_all: bool = False
) -> str | None:
    """Why this new content of a file is rejected; None if it is accepted. `before` is None for a new file."""
    if "\x00" in after:
        return "The text contains a NUL character. Write plain text."
    if _adds(_SWITCHED_OFF, before, after):
        return "The text switches the type check off. Fix the types instead."
    if _adds(_SILENCED, before, after) and len(_SILENCED.findall(after)) > _MOST_SILENCED:
        return "The text silences the type check in many places. Fix the types instead."
    if _SOURCE.fullmatch(path.lower()) and _adds(_PLACEHOLDER, before, after):
        return (
            "The text contains a placeholder instead of code. Write the whole file, "
            "or use edit_file to change one place."
        )
    if before is not None and not replaces_all and _shrinks(before, after):
        return (
            f"{path} would shrink from {len(before)} to {len(after)} characters. "
            "Use edit_file for a small change, or write it again with replaces_all: true."
        )
    return None


def _adds(pattern: re.Pattern[str], before: str | None, after: str) -> bool:
    return len(pattern.findall(after)) > len(pattern.findall(before or ""))


def _shrinks(before: str, after: str) -> bool:
    return len(before) > _SHRINK_FLOOR and len(after) * 2 < len(before)
