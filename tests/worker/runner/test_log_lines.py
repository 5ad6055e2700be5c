"""A worker's log holds no control characters and no secrets, whatever an error quotes."""

from __future__ import annotations

import logging

from mobvibe_worker.runner.log_lines import CleanFormatter
from mobvibe_worker.sanitize import Redactor

SECRET = "sk-ant-a-secret-key"


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
    line = CleanFormatter(Redactor([SECRET])).format(record)
    assert "ERROR job ab" in line and "RuntimeError:  said [secret]" in line
    assert not [one for one in line if (ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160]
    assert SECRET not in line
