"""A migrated database for every test, cloned from a template that each test process migrates once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest_asyncio
from asyncpg import Pool

from mobvibe_worker.jobs import LOCAL_OWNER, Attempt, Job, Prompt, SessionId, WorkerId
from mobvibe_worker.revisions import CHECK_NAMES, Check, CheckReport
from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.connection.user_view import Person
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.profiles import ProfileStore
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.sessions import SessionStore

GREEN = CheckReport(tuple(Check(name, True, 0.1) for name in CHECK_NAMES))
RED = CheckReport(tuple(Check(name, name != "types", 0.1) for name in CHECK_NAMES))
LEASE = timedelta(seconds=30)


async def _run(server: str, statement: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(postgres_server: str) -> AsyncIterator[str]:
    """The name of a migrated database that has no connections."""
    name = f"template_{uuid4().hex[:12]}"
    await _run(postgres_server, f"create database {name}")
    await MigrationRunner(f"{postgres_server}/{name}").migrate()
    yield name
    await _run(postgres_server, f"drop database {name} with (force)")


@pytest_asyncio.fixture
async def empty_database(postgres_server: str) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    name = f"empty_{uuid4().hex[:12]}"
    await _run(postgres_server, f"create database {name}")
    yield f"{postgres_server}/{name}"
    await _run(postgres_server, f"drop database {name} with (force)")


@pytest_asyncio.fixture
async def database_url(postgres_server: str, template_database: str) -> AsyncIterator[str]:
    """The URL of a migrated database that only this test uses."""
    name = f"test_{uuid4().hex[:12]}"
    await _run(postgres_server, f"create database {name} template {template_database}")
    yield f"{postgres_server}/{name}"
    await _run(postgres_server, f"drop database {name} with (force)")


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on the test's database."""
    opened = await open_pool(database_url, size=10)
    yield opened
    await opened.close()


async def signed_up(pool: Pool, email: str) -> Person:
    """Create a person, as a sign-up on the platform does."""
    await pool.execute("insert into auth.users (email) values ($1)", email)
    return await ProfileStore(pool).person(email)


async def new_session(pool: Pool, name: str = "Coffee timer") -> SessionId:
    """Create a session in a new project of the local owner."""
    project = await ProjectStore(pool).create(LOCAL_OWNER, name, 54)
    return await SessionStore(pool).create(project.id, f"build {name}")


async def claimed(pool: Pool, worker: str = "w1", slots: int = 1) -> list[tuple[Job, Attempt]]:
    """Claim jobs as a worker. Returns them with their attempts."""
    jobs = await Claims(pool).claim(WorkerId(worker), slots, LEASE)
    return [(job, Attempt(job.id, job.attempt, WorkerId(worker))) for job in jobs]


async def running_job(pool: Pool, worker: str = "w1") -> tuple[Job, Attempt]:
    """Create and claim one job of a new project."""
    await JobQueue(pool).enqueue(await new_session(pool), Prompt("a timer for coffee"))
    ((job, attempt),) = await claimed(pool, worker)
    return job, attempt


async def lose_lease(pool: Pool, job: Job) -> None:
    """Let the job's lease expire, as if its worker had died."""
    await pool.execute(
        "update coding_jobs set lease_expires_at = now() - interval '1 second' where id = $1",
        job.id,
    )
