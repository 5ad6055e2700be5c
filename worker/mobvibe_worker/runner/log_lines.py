"""A worker's log on stderr, without terminal sequences and secrets that it may quote."""

from __future__ import annotations

import logging

from mobvibe_worker.sanitize import Redactor, clean_text


class CleanFormatter(logging.Formatter):
    """Lines and tracebacks without terminal sequences and without the secrets."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(clean_text(super().format(record)))


def log_to_stderr(secrets: tuple[str, ...]) -> None:
    """Send warnings and errors of this process to stderr, with `secrets` masked."""
    handler = logging.StreamHandler()
    handler.setFormatter(CleanFormatter(Redactor(secrets)))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
