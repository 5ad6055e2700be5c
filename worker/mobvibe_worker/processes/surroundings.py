"""The environment variables that child processes may see: no keys, no DATABASE_URL."""

from __future__ import annotations

import os
from collections.abc import Mapping

_ALLOWED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "SHELL",
)


def allowed_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The allow-listed variables of this process, extended by `more`."""
    return {name: os.environ[name] for name in _ALLOWED if name in os.environ} | dict(more or {})
