"""The ports and modes that a home has settled on, remembered for its next start."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobvibe_worker.errors import ServiceError


class Choices:
    """A small JSON object in a file that several processes may change at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        """All choices. Raises ServiceError if the file is damaged, because forgetting them would hide databases."""
        try:
            choices = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if not isinstance(choices, dict) or not isinstance(choices.get("ports", {}), dict):
            raise self._damaged("it does not have the expected shape")
        return choices

    def get(self, name: str) -> Any:
        return self.read().get(name)

    def remember(self, name: str, value: Any) -> None:
        with self._changing() as choices:
            choices[name] = value

    def ports(self) -> dict[str, int]:
        return dict(self.read().get("ports", {}))

    def remember_port(self, service: str, port: int) -> None:
        """Store a service's port. Another service that had it before gets a new one."""
        with self._changing() as choices:
            others = {name: held for name, held in choices.get("ports", {}).items() if held != port}
            choices["ports"] = {**others, service: port}

    def forget_port(self, service: str) -> None:
        """Forget a service's port. Idempotent."""
        with self._changing() as choices:
            held = choices.get("ports", {})
            choices["ports"] = {name: port for name, port in held.items() if name != service}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            choices = self.read()
            before = json.dumps(choices)
            yield choices
            if json.dumps(choices) != before:
                self._write(choices)
        finally:
            os.close(lock)

    def _write(self, choices: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile(
            "w", dir=self._path.parent, prefix=".choices-", delete=False, encoding="utf-8"
        ) as draft:
            json.dump(choices, draft, indent=2, sort_keys=True)
            draft.flush()
            os.fsync(draft.fileno())
        Path(draft.name).replace(self._path)

    def _damaged(self, why: str) -> ServiceError:
        return ServiceError(
            f"{self._path} cannot be read: {why}.",
            "Fix it, or move it away to start with new choices.",
        )
