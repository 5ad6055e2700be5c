"""Trades finished attempts for new jobs: one statement completes a batch and claims what fits into the free slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from mobvibe_worker.errors import DatabaseUnreachable, LeaseLost, StoreError
from mobvibe_worker.jobs import Attempt, Job, WorkerId
from mobvibe_worker.runner.running_job import Rhythm
from mobvibe_worker.store.claims import Claims, Finished, Traded

log = logging.getLogger(__name__)

LANES = 2
"""While the database works on one batch, the next one gathers and is sent."""
FULL_SHARE = 100
"""Up to so many slots are filled by one statement: two with half as many each cost more than they save in time."""
REST_SECONDS = 0.02
"""How long an idle worker lets finished attempts gather, and how soon it comes back to those of a locked project."""
RECONNECT_SECONDS = 1.0
REST_STORED_SECONDS = 3.0
"""How long a worker that ends waits for a project that somebody else holds."""


@dataclass(slots=True)
class Exchange:
    """`finish` hands an attempt over, `look` says that there may be jobs. Nothing is claimed beyond the free slots."""

    claims: Claims
    worker: WorkerId
    rhythm: Rhythm
    count_running: Callable[[], int]
    start: Callable[[Job], None]
    on_stored: Callable[[int, int], None]
    """Told how many attempts that were handed over completed, and how many were lost."""
    on_refused: Callable[[], None]
    """Told of each attempt whose result cannot be stored, once its job failed for that."""
    on_unheard: Callable[[], None]
    """Told when a claim was sent, and whether it was done is not known."""
    _finished: list[Finished] = field(default_factory=list)
    _trades: dict[asyncio.Future[None], list[Finished]] = field(default_factory=dict)
    _asked: int = 0
    _looks: int = 0
    _is_hungry: bool = True
    _is_looking: bool = False
    _is_resting: bool = False
    _brought_more: bool = True
    """Whether what was completed last freed the way for other jobs."""
    _busy: list[Finished] = field(default_factory=list)
    _may_claim: bool = True
    _is_closing: bool = False
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, finished: Finished) -> None:
        """Have an attempt completed with the next batch: at once where that may bring the next job, else soon."""
        self._finished.append(finished)
        if self._is_hungry or self._brought_more or self._is_closing:
            self._stirred.set()
        elif not self._is_resting:
            self._is_resting = True
            asyncio.get_running_loop().call_later(REST_SECONDS, self._end_rest)

    def look(self) -> None:
        """Claim what there is, as soon as a slot is free."""
        self._looks += 1
        self._is_hungry = True
        self._stirred.set()

    def slot_is_free(self) -> None:
        """A job ended in another way than by `finish`."""
        self._stirred.set()

    def stop_claiming(self) -> None:
        """From now on only complete."""
        self._may_claim = False

    @property
    def free_slots(self) -> int:
        """Slots that neither run a job nor are being filled."""
        return self.rhythm.concurrency - self.count_running() - self._asked

    @property
    def unstored(self) -> set[Attempt]:
        """What was handed over, and is not known to be stored."""
        batches = (self._finished, self._busy, *self._trades.values())
        return {finished.attempt for batch in batches for finished in batch}

    async def until_traded(self) -> None:
        """Return when all statements that are under way now were answered, or failed."""
        if self._trades:
            await asyncio.wait(set(self._trades))

    async def run(self) -> None:
        """Trade until `close`; then until everything is stored."""
        async with asyncio.TaskGroup() as group:
            for number in range(LANES):
                group.create_task(self._serve(), name=f"exchange-{number}")

    def close(self) -> None:
        """Let `run` return when all that was handed over is stored."""
        self._may_claim = False
        self._is_closing = True
        self._stirred.set()

    async def store_rest(self) -> None:
        """Complete what is left over, once, each by itself, unless a lock holds it up for too long."""
        batch, self._finished, self._busy = [*self._finished, *self._busy], [], []
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_STORED_SECONDS):
                await self._store_each(batch)
        if self._finished:
            log.warning("%s finished job(s) could not be stored", len(self._finished))

    def _end_rest(self) -> None:
        self._is_resting = False
        self._finished += self._busy
        self._busy.clear()
        self._stirred.set()

    async def _serve(self) -> None:
        while True:
            if self._finished and (not self._is_resting or self._is_closing):
                is_answered = await self._trade(self._take_finished())
            elif self._has_reason_to_look():
                self._is_looking = True
                try:
                    is_answered = await self._trade([])
                finally:
                    self._is_looking = False
            elif self._is_closing:
                return
            else:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            if not is_answered:
                await asyncio.sleep(RECONNECT_SECONDS)

    def _has_reason_to_look(self) -> bool:
        return self._is_hungry and not self._is_looking and self._share() > 0

    def _share(self) -> int:
        """How many to ask for. The slots of what is still to be completed are filled with that, by what follows it."""
        if not self._may_claim:
            return 0
        left = 0 if self._is_resting else len(self._finished)
        return max(0, min(self.free_slots - left, self._most))

    @property
    def _most(self) -> int:
        """Of many slots half, so that both lanes have something to do."""
        return max(-(-self.rhythm.concurrency // LANES), FULL_SHARE)

    def _take_finished(self) -> list[Finished]:
        batch, self._finished = self._finished[: self._most], self._finished[self._most :]
        return batch

    async def _trade(self, batch: list[Finished]) -> bool:
        """False where nobody knows whether it was done, or nothing could be: better wait a moment."""
        ended = asyncio.get_running_loop().create_future()
        self._trades[ended] = batch
        try:
            return await self._send(batch, self._share())
        finally:
            del self._trades[ended]
            ended.set_result(None)

    async def _send(self, batch: list[Finished], slots: int) -> bool:
        looks = self._looks
        self._asked += slots
        try:
            traded = await self.claims.finish_and_claim(
                self.worker,
                batch,
                slots,
                timedelta(seconds=self.rhythm.lease),
                recordings_only=self.rhythm.recordings_only,
            )
        except asyncio.CancelledError:
            self._forget_answer(batch, slots)
            raise
        except DatabaseUnreachable as away:
            log.warning("the queue cannot be reached: %s", away)
            self._forget_answer(batch, slots)
            return False
        except StoreError as error:
            log.warning("a batch of %s was refused: %s", len(batch), error)
            await self._store_each(batch)
            return bool(batch)
        finally:
            self._asked -= slots
        if len(traded.jobs) < slots and looks == self._looks:
            self._is_hungry = False
        if batch:
            self._brought_more = bool(traded.jobs)
            self._note_stored(batch, traded)
        await self._take(traded.jobs)
        return True

    def _note_stored(self, batch: list[Finished], traded: Traded) -> None:
        busy = [each for each in batch if each.attempt.job_id in traded.busy]
        self.on_stored(len(batch) - len(traded.lost) - len(busy), len(traded.lost))
        if busy:
            self._busy += busy
            asyncio.get_running_loop().call_later(REST_SECONDS, self._end_rest)

    def _forget_answer(self, batch: list[Finished], slots: int) -> None:
        """Completed or not: sent again it is the same. What was claimed is looked for."""
        self._finished[:0] = batch
        if slots:
            self.on_unheard()

    async def _take(self, jobs: list[Job]) -> None:
        if self._is_closing:
            for job in jobs:
                with suppress(StoreError):  # its lease runs out
                    await self.claims.hand_back(Attempt(job.id, job.attempt, self.worker))
            return
        for job in jobs:
            self.start(job)

    async def _store_each(self, batch: list[Finished]) -> None:
        """One bad result, or one locked project, must not keep the others of its batch from being stored."""
        storing = {asyncio.create_task(self._store(each)): each for each in batch}
        try:
            await asyncio.gather(*storing)
        finally:
            self._finished += [each for task, each in storing.items() if not task.done()]

    async def _store(self, finished: Finished) -> None:
        try:
            lost = len(await self.claims.complete_many(self.worker, [finished]))
            self.on_stored(1 - lost, lost)
        except DatabaseUnreachable:
            self._finished.append(finished)
        except StoreError as error:
            await self._fail(finished, error)

    async def _fail(self, finished: Finished, error: StoreError) -> None:
        try:
            await self.claims.fail(
                finished.attempt, f"The result cannot be stored: {error}", retry=False
            )
            self.on_refused()
        except DatabaseUnreachable:
            self._finished.append(finished)
        except LeaseLost:
            self.on_stored(0, 1)
