"""Jobs that this worker claimed without hearing of it, as the answer was lost on the way: found, and handed back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from mobvibe_worker.errors import LeaseLost, StoreError
from mobvibe_worker.jobs import Attempt, WorkerId
from mobvibe_worker.store.claims import Claims

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


@dataclass(slots=True)
class UnheardClaims:
    """Looks only after an answer was lost; what is found waits again at once, and no attempt is counted."""

    claims: Claims
    worker: WorkerId
    lease: float
    """Seconds that a claim holds, and so how long there is doubt: a server commits when it likes."""
    known: Callable[[], Collection[Attempt]]
    """The attempts that run here, and those whose result is still to be stored."""
    until_traded: Callable[[], Awaitable[None]]
    """Returns when the claims that are under way now were answered, or were lost too."""
    on_found: Callable[[], None]
    _doubt_until: float = 0.0
    _doubted: asyncio.Event = field(default_factory=asyncio.Event)

    def doubt(self) -> None:
        """The answer to a claim was lost: it may have been done, or be done in a moment."""
        self._doubt_until = asyncio.get_running_loop().time() + self.lease
        self._doubted.set()

    async def run(self) -> None:
        """Look for as long as there is doubt, until cancelled."""
        while True:
            await self._doubted.wait()
            await self.look()
            if asyncio.get_running_loop().time() > self._doubt_until:
                self._doubted.clear()
            else:
                await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Hand back, once, what is held and not known. Does nothing where no answer was lost."""
        if not self._doubted.is_set():
            return
        try:
            held = await self.claims.held_by(self.worker)
            # What was claimed meanwhile is known once its answer is here.
            await self.until_traded()
            for attempt in held:
                if attempt not in self.known():
                    await self._hand_back(attempt)
        except StoreError as error:
            log.info("what was claimed unheard cannot be looked for: %s", error)

    async def _hand_back(self, attempt: Attempt) -> None:
        try:
            await self.claims.hand_back(attempt)
        except LeaseLost:
            return
        log.warning("job %s was claimed, but its answer was lost: it waits again", attempt.job_id)
        self.on_found()
