"""How often a service that ends by itself may be started again."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RestartBudget:
    """At most `most` restarts within `seconds`."""

    most: int = 3
    seconds: float = 300.0
    _restarts: deque[float] = field(default_factory=deque)

    def spend(self) -> bool:
        """Count one restart; False if it is one too many."""
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > self.seconds:
            self._restarts.popleft()
        self._restarts.append(now)
        return len(self._restarts) <= self.most
