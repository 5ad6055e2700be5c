"""A worker's log drives no terminal and tells no secret, whatever an error quotes."""

from __future__ import annotations

import logging

from mobvibe_worker.runner.log_lines import CleanFormatter
from mobvibe_worker.sanitize import Redactor

SECRET = "sk-ant-a-key-that-nobody-may-see"


def test_tracebacks_are_cleaned_and_masked() -> None:
    try:
        raise RuntimeError(f"\x1b]0;yours\x07 said \x1b[2J{SECRET}")
    except RuntimeError as error:
        record = logging.LogRecord(
            "w",
            logging.ERROR,
            __file__,
            1,
            "job %s \x9b2J",
            ("a\x00b",),
            (type(error), error, None),
        )
    said = CleanFormatter(Redactor([SECRET])).format(record)
    assert "ERROR job ab" in said and "RuntimeError:  said [secret]" in said
    assert not [one for one in said if (ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160]
    assert SECRET not in said
