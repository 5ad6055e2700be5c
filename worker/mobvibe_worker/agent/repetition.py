"""Notices when the model repeats itself: the same call with the same result, again and again."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import dataclass, field

from mobvibe_worker.agent.model import Block
from mobvibe_worker.errors import LimitReached

SAME = 3
WINDOW = 16
NUDGE = (
    "You made the same call with the same result {count} times. It will not change. "
    "Stop, think about why, and do something different; if the work is done, say so and end."
)


@dataclass(slots=True)
class Repetition:
    """Watches the last WINDOW calls, so that alternating calls (A, B, A, B) are noticed as well."""

    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _was_nudged: bool = False

    def add(self, call: Block, result: str) -> str | None:
        """Return a hint for the model the first time it repeats itself. Raises LimitReached the second time."""
        fingerprint = _fingerprint(call, result)
        self._recent.append(fingerprint)
        count = self._recent.count(fingerprint)
        if count < SAME:
            return None
        if self._was_nudged:
            raise LimitReached(
                f"The agent repeated itself: {call.get('name')} gave the same result again and again.",
                "Ask again in other words, or in smaller steps.",
            )
        self._was_nudged = True
        self._recent.clear()
        return NUDGE.format(count=count)


def _fingerprint(call: Block, result: str) -> str:
    call_and_result = [call.get("name"), call.get("input"), result]
    text = json.dumps(call_and_result, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
