"""What the command line prints: plain lines, or with --json one object a line on stdout and the rest on stderr."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from mobvibe_app.status import ServiceStatus
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.sanitize import clean_text


@dataclass(slots=True)
class Output:
    """Where a command's words go. Everything is cleaned of terminal sequences on its way."""

    is_json: bool
    has_result: bool = False
    _last: dict[str, str] = field(default_factory=dict)

    def value(self, data: dict[str, Any]) -> None:
        """One JSON object on one line of stdout; only with --json."""
        print(json.dumps(data, default=str, ensure_ascii=True), file=sys.stdout, flush=True)

    def result(self, data: dict[str, Any]) -> None:
        self.has_result = True
        self.value({"result": data})

    @property
    def is_terminal(self) -> bool:
        return sys.stdout.isatty()

    def qr(self, rows: list[str]) -> None:
        """The rows of a QR code: our own cells, colours included."""
        print("\n".join(rows), flush=True)

    def line(self, text: str = "") -> None:
        """One line for the person: stdout, or stderr beside JSON."""
        print(clean_text(text), file=sys.stderr if self.is_json else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """One line beside the result: always stderr."""
        print(clean_text(text), file=sys.stderr, flush=True)

    def error(self, error: MobvibeError) -> None:
        self.note(f"mobvibe-tui: {error.message}")
        if error.remedy:
            self.note(f"  {error.remedy}")

    def status(self, status: ServiceStatus) -> None:
        """A service's status, on stderr, once per state and whole tenth of progress."""
        part = "" if status.progress is None else f" {int(status.progress * 10) * 10}%"
        step = f"{status.state}{part or status.detail}"
        if self._last.get(status.name) != step:
            self._last[status.name] = step
            self.note(f"{status.name:<9} {status.state}{part}  {status.detail}".rstrip())
            if status.state == "failed" and status.remedy:
                self.note(f"          {status.remedy}")
            if status.can_start_again:
                self.note("          Showing the project in `mobvibe-tui` starts it again.")
