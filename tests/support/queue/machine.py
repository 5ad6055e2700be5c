"""Random steps of people, of hand-written SQL and of workers on the queue and its plain model."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mobvibe_worker.errors import InputError, NotFound
from mobvibe_worker.jobs import LOCAL_OWNER, JobId, Prompt, SessionId
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.sessions import SessionStore
from support.queue.model import ModelJob, Refused
from support.queue.worker_steps import PICK, WorkerSteps

MOST_PROJECTS, MOST_JOBS = 4, 60
PRIORITIES = st.sampled_from([0, 0, 0, 1, 5, -1])


class QueueMachine(WorkerSteps):
    """Each rule is one action of a person, a worker or a platform developer."""

    @initialize(
        lines=st.lists(st.lists(PRIORITIES, min_size=1, max_size=3), min_size=1, max_size=3)
    )
    def begin(self, lines: list[list[int]]) -> None:
        """Create a few projects with jobs, and claim as many jobs as there are projects."""
        for priorities in lines:
            self.open_session(0, is_new=True)
            self.insert([(len(self.sessions) - 1, priority, None, 2) for priority in priorities])
        self.claim_slots("ada", len(lines))

    @precondition(lambda self: len(self.sessions) < MOST_PROJECTS * 2)
    @rule(pick=PICK, is_new=st.booleans())
    def open_session(self, pick: int, is_new: bool) -> None:
        """Open a session of a new project, or another one of an existing project."""
        projects = [
            each for each in dict.fromkeys(self.sessions.values()) if each not in self.model.deleted
        ]
        if projects and not is_new:
            project = projects[pick % len(projects)]
        else:
            # The name is unique, because a deleted project cannot be restored once its name is taken.
            name = f"App {uuid4().hex[:8]}"
            project = self.run(ProjectStore(self.pool).create(LOCAL_OWNER, name, 54)).id
        session = self.run(SessionStore(self.pool).create(project, "build"))  # type: ignore[arg-type]
        self.sessions[session] = project
        self.model.session_status[session] = "pending"

    @precondition(lambda self: self.sessions and self.entered < MOST_JOBS)
    @rule(pick=PICK, priority=PRIORITIES, key=st.sampled_from([None, None, "k", "l"]))
    def enqueue(self, pick: int, priority: int, key: str | None) -> None:
        """Enqueue a prompt. Repeating a key returns the same job."""
        session = self.session_at(pick)
        project = self.sessions[session]
        call = partial(
            self.queue.enqueue,
            SessionId(session),
            Prompt("go"),
            priority=priority,
            idempotency_key=key,
        )
        known = self.model.known(project, key) if key else None
        if project in self.model.deleted:
            self.refused_alike(call, _refuse, NotFound)
            return
        job_id = self.run(call())
        if known:
            assert job_id == known.id
            return
        self._enter([job_id], {job_id: key})

    @precondition(lambda self: self.sessions and self.entered < MOST_JOBS)
    @rule(
        rows=st.lists(
            st.tuples(PICK, PRIORITIES, st.sampled_from([None, None, 1, 2]), st.integers(1, 3)),
            min_size=1,
            max_size=8,
        )
    )
    def insert(self, rows: list[tuple[int, int, int | None, int]]) -> None:
        """Insert several jobs by one SQL statement, some of them scheduled, with one to three attempts."""
        live = [s for s, project in self.sessions.items() if project not in self.model.deleted]
        if not live:
            return
        sql = (
            "insert into public.coding_jobs (session_id, prompt, priority, run_at, max_retries)"
            " select s, 'typed', p, case when h is not null then now() + make_interval(hours => h) end, m"
            " from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as t (s, p, h, m) returning id"
        )
        picks, *columns = zip(*rows, strict=True)
        sessions = [live[pick % len(live)] for pick in picks]
        ids = [row["id"] for row in self.run(self.pool.fetch(sql, sessions, *columns))]
        self._enter(ids, {})

    def _enter(self, ids: list[UUID], keys: dict[Any, str | None]) -> None:
        """Add new rows to the model. Each must come after those that entered earlier."""
        sql = "select * from public.coding_jobs where id = any($1) order by array_position($1, id)"
        before = max((job.entered for job in self.model.jobs.values()), default=None)
        for row in self.run(self.pool.fetch(sql, ids)):
            assert before is None or row["created_at"] >= before, "a later job has an earlier place"
            before = row["created_at"]
            assert row["project_id"] == self.sessions[row["session_id"]]
            job = ModelJob(
                id=row["id"],
                session=row["session_id"],
                project=row["project_id"],
                priority=row["priority"],
                entered=row["created_at"],
                key=keys.get(row["id"]),
                run_at=row["run_at"],
                max_retries=row["max_retries"],
            )
            self.model.enter(job)
            self.entered += 1

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, is_soft=st.booleans())
    def delete_project(self, pick: int, is_soft: bool) -> None:
        """Mark a project as deleted, so that it accepts and starts no jobs, or delete its row with all its jobs."""
        if pick % 4:  # rarely
            return
        project = self.sessions[self.session_at(pick)]
        if is_soft:
            sql = "update public.projects set status = 'deleted' where id = $1"
            self.model.mark_deleted(project)
        else:
            sql = "delete from public.projects where id = $1"
            self.model.delete_project(project)
            self.sessions = {s: p for s, p in self.sessions.items() if p != project}
            self.model.session_status = {
                s: status for s, status in self.model.session_status.items() if s in self.sessions
            }
        self.run(self.pool.execute(sql, project))

    @precondition(lambda self: self.model.deleted)
    @rule(pick=PICK)
    def restore_project(self, pick: int) -> None:
        """Mark a deleted project as active, which restores its line of jobs."""
        project = sorted(self.model.deleted)[pick % len(self.model.deleted)]
        self.run(
            self.pool.execute("update public.projects set status = 'active' where id = $1", project)
        )
        self.model.restore_project(project)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """Cancel a job in any state."""
        job = self.job_at(pick)
        assert self.run(self.queue.cancel(JobId(job))) == self.model.cancel(job)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        """Retry a job in any state. Jobs of a deleted project are refused."""
        job = self.ended_job_at(pick)
        is_deleted = self.model.jobs[job].project in self.model.deleted
        self.refused_alike(
            lambda: self.queue.retry(JobId(job)),
            _refuse if is_deleted else lambda: self.model.retry(job),
            InputError,
            NotFound,
        )

    @rule()
    def retry_all_dead(self) -> None:
        rows = self.run(self.pool.fetch("select job from public.retry_all_dead() as job"))
        assert {row["job"] for row in rows} == self.model.retry_all_dead()

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK, priority=PRIORITIES)
    def change_priority(self, pick: int, priority: int) -> None:
        """Change the priority of a waiting job in SQL."""
        job = self.job_at(pick)
        if self.model.jobs[job].status != "pending":
            return
        sql = "update public.coding_jobs set priority = $2 where id = $1"
        self.run(self.pool.execute(sql, job, priority))
        self.model.change_priority(job, priority)


def _refuse() -> Any:
    raise Refused
