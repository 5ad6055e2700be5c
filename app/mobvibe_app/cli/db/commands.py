"""The verbs of mobvibe-tui db by name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from typing import Any

from mobvibe_app.cli.db import branching, inspecting, migrating
from mobvibe_app.cli.output import Output
from mobvibe_app.settings import AppSettings

Command = Callable[[AppSettings, argparse.Namespace, Output], Coroutine[Any, Any, int]]
COMMANDS: dict[str, Command] = {
    "migrate": migrating.migrate,
    "rollback": migrating.rollback,
    "status": migrating.status,
    "verify": migrating.verify,
    "reset": migrating.reset,
    "seed": migrating.seed,
    "branch": branching.branch,
    "contracts": inspecting.contracts,
    "url": inspecting.url,
    "psql": inspecting.psql,
}
