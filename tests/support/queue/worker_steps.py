"""The steps of workers on the queue: they claim, renew, complete, fail and die."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mobvibe_worker.errors import LeaseLost, NotFound
from mobvibe_worker.events import ErrorRaised, Message
from mobvibe_worker.jobs import Attempt, JobId, SessionId, WorkerId
from mobvibe_worker.store.claims import FinishedWork
from mobvibe_worker.store.revisions import RevisionStore
from support.postgres.database import GREEN
from support.queue.model import Claim
from support.queue.steps import ComparedQueue

LONG = timedelta(hours=1)
PICK = st.integers(min_value=0, max_value=1000)
WORKERS = st.sampled_from(["ada", "bob", "cyd"])


class WorkerSteps(ComparedQueue):
    """Steps of three workers, whose claims may be current or stale."""

    @rule(worker=WORKERS, slots=st.integers(min_value=1, max_value=5))
    def claim(self, worker: str, slots: int) -> None:
        self.claim_slots(worker, slots)

    @rule(worker=WORKERS, slots=st.integers(min_value=0, max_value=5))
    def come_due(self, worker: str, slots: int) -> None:
        """Let every back-off and schedule pass, then claim."""
        sql = "update public.coding_jobs set run_at = now() - interval '1 s' where run_at > now()"
        self.run(self.pool.execute(sql))
        self.model.come_due()
        self.claim_slots(worker, slots)

    def claim_slots(self, worker: str, slots: int) -> None:
        """Claim from both: the same jobs in the same order."""
        expected = self.model.claim(worker, slots)
        jobs = self.run(self.workers.claim(WorkerId(worker), slots, LONG))
        assert [Claim(job.id, job.attempt, worker) for job in jobs] == expected
        self.claims += expected

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def complete(self, pick: int) -> None:
        """Complete an attempt as a build does, with files, report, event and status in one transaction."""
        claim = self.claim_at(pick)
        self.refused_alike(
            lambda: self._complete(claim), lambda: self.model.complete(claim), LeaseLost, NotFound
        )

    async def _complete(self, claim: Claim) -> None:
        attempt = attempt_of(claim)
        base = await RevisionStore(self.pool).commit_template(attempt, {"App.tsx": b"0"})
        files = {"App.tsx": str(claim.number).encode()}
        work = FinishedWork(files, base.id, GREEN, [Message("done")])
        first = await self.workers.complete(attempt, work)
        assert await self.workers.complete(attempt, work) == first, "a repeat must return the same"

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def complete_by_hand(self, pick: int) -> None:
        """Complete a job with `select complete_job(id)`, which needs a running job but no fence."""
        claim = self.claim_at(pick)
        job = self.model.jobs.get(claim.job)
        runs = job is not None and job.status == "processing"
        current = Claim(claim.job, job.attempt, job.worker or "") if job else claim

        async def by_hand() -> None:
            assert await self.pool.fetchval("select public.complete_job($1)", claim.job) is True

        if runs:
            self.run(by_hand())
            self.model.complete(current)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, retry=st.booleans())
    def fail(self, pick: int, retry: bool) -> None:
        """Fail an attempt; its job then backs off or is dead."""
        claim = self.claim_at(pick)
        later = datetime.max.replace(tzinfo=UTC)
        self.refused_alike(
            lambda: self._fail(claim, retry=retry),
            lambda: self.model.fail(claim, retry=retry, run_at=later),
            LeaseLost,
        )

    async def _fail(self, claim: Claim, *, retry: bool) -> bool:
        will_retry = await self.workers.fail(
            attempt_of(claim), "no", retry=retry, events=[ErrorRaised("no")]
        )
        # Keep the back-off from ending during the test, even on a slow machine.
        await self.pool.execute(
            "update public.coding_jobs set run_at = now() + interval '1 day'"
            " where id = $1 and run_at is not null",
            claim.job,
        )
        return will_retry

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def finish_cancelled(self, pick: int) -> None:
        """Report that a cancelled attempt has stopped."""
        claim = self.claim_at(pick)
        self.refused_alike(
            lambda: self.workers.finish_cancelled(attempt_of(claim)),
            lambda: self.model.finish_cancelled(claim),
            LeaseLost,
        )

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def hand_back(self, pick: int) -> None:
        """Hand a job back, as a stopping worker does."""
        claim = self.claim_at(pick)
        self.refused_alike(
            lambda: self.workers.hand_back(attempt_of(claim)),
            lambda: self.model.hand_back(claim),
            LeaseLost,
        )

    @precondition(lambda self: self.claims)
    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        """Renew all claims that a worker ever had. Only the current ones are in the answer."""
        mine = [claim for claim in self.claims if claim.worker == worker]
        answer = self.run(self.workers.renew(WorkerId(worker), list(map(attempt_of, mine)), LONG))
        assert {each.job_id: each.cancel_requested for each in answer} == self.model.renew(mine)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def append(self, pick: int) -> None:
        """Append events as a current or stale attempt."""
        claim = self.claim_at(pick)
        job = self.model.jobs.get(claim.job)
        if job is None:
            return

        async def append() -> None:
            session = SessionId(job.session)
            await self.events.append(session, [Message("hi")] * 2, attempt=attempt_of(claim))

        def holds() -> None:
            self.model.holder(claim)

        self.refused_alike(append, holds, LeaseLost)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def lose_worker(self, pick: int) -> None:
        """Let a lease expire without reclaiming its job."""
        job = self.model.jobs.get(self.claim_at(pick).job)
        if job is None or job.status != "processing":
            return
        job.is_expired = True
        sql = (
            "update public.coding_jobs set lease_expires_at = now() - interval '1 s' where id = $1"
        )
        self.run(self.pool.execute(sql, job.id))

    @rule()
    def reclaim(self) -> None:
        """Reclaim the jobs whose leases have expired."""
        assert set(self.run(self.workers.reclaim())) == self.model.reclaim()

    @rule(worker=WORKERS, host=st.sampled_from(["this host", "this host", "another"]))
    def see_worker_dead(self, worker: str, host: str) -> None:
        """Reclaim the jobs of a dead worker, which only a worker on the same machine can do."""
        sql = "select job from public.reclaim_worker($1, $2) as job"
        answer = {row["job"] for row in self.run(self.pool.fetch(sql, worker, host))}
        assert answer == (self.model.reclaim(worker) if host == "this host" else set())

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, worker=WORKERS, is_crash=st.booleans(), times=st.integers(2, 3))
    def fail_repeatedly(self, pick: int, worker: str, is_crash: bool, times: int) -> None:
        """Fail a job, or lose its worker, several times in a row, until it is dead or nearly so."""
        for _ in range(times):
            if is_crash:
                self.lose_worker(pick | 1)
                self.reclaim()
            else:
                self.fail(pick | 1, retry=True)
            self.come_due(worker, 5)


def attempt_of(claim: Claim) -> Attempt:
    """Return the claim as the attempt that fences calls to the real queue."""
    return Attempt(JobId(claim.job), claim.number, WorkerId(claim.worker))
