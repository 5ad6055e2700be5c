"""Example people, apps and builds. None of the jobs is pending, so no worker runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid5

import asyncpg

from mobvibe_worker.events import (
    Completion,
    ErrorRaised,
    FileChange,
    Message,
    Payload,
    Terminal,
    Thinking,
    to_data,
)
from mobvibe_worker.jobs import JobStatus, SessionStatus
from mobvibe_worker.revisions import CHECK_NAMES, Check, CheckReport
from mobvibe_worker.store.connection.failures import translated
from mobvibe_worker.store.connection.pool import connect, set_codecs
from mobvibe_worker.store.connection.rows import (
    CodingJobsInsert,
    CodingJobsRow,
    CodingSessionsInsert,
    CodingSessionsRow,
    ProjectsInsert,
)
from mobvibe_worker.store.connection.sql import Table, only
from mobvibe_worker.store.rules import SESSIONS_LIMIT, ProjectStatus, Tier
from mobvibe_worker.store.tables import JOBS, PROJECTS, SESSIONS

R = TypeVar("R")
_SPACE = UUID("5eed5eed-5eed-4eed-8eed-5eed5eed5eed")
_GREEN = CheckReport(tuple(Check(name, True, 1.5) for name in CHECK_NAMES))


@dataclass(frozen=True, slots=True)
class _Build:
    """One prompt and the status of its job."""

    prompt: str
    status: JobStatus = "completed"


@dataclass(frozen=True, slots=True)
class _App:
    """One project with one conversation."""

    name: str
    builds: tuple[_Build, ...]
    status: ProjectStatus = "active"
    session: SessionStatus = "completed"


@dataclass(frozen=True, slots=True)
class _Person:
    email: str | None
    name: str
    tier: Tier
    apps: tuple[_App, ...]


PEOPLE = (
    _Person(
        "ada@example.com",
        "Ada",
        "free",
        (
            _App(
                "Habit tracker",
                (
                    _Build("A habit tracker with streaks and a calm look"),
                    _Build("Let me reorder the habits by dragging"),
                ),
                session="active",
            ),
            _App("Reading list", (_Build("A reading list sorted by mood"),), status="archived"),
        ),
    ),
    _Person(
        "grace@example.com",
        "Grace",
        "pro",
        (
            _App(
                "Tip splitter",
                (
                    _Build("A tip calculator that splits the bill between friends"),
                    _Build("Round every share up", "failed"),
                    _Build("Round every share up to a whole amount"),
                ),
                session="active",
            ),
            _App("Plant diary", (_Build("Remind me which plant wants water today"),)),
            _App("Old idea", (_Build("A dice for board games", "cancelled"),), status="deleted"),
        ),
    ),
    _Person(
        "kofi@example.com",
        "Kofi",
        "team",
        (
            _App(
                "Shift planner",
                (
                    _Build("A planner of shifts for a small cafe"),
                    _Build("Show who swapped with whom"),
                ),
                session="paused",
            ),
        ),
    ),
    _Person(None, "Signed up by phone", "free", ()),
)


async def seed(dsn: str) -> dict[str, int]:
    """Insert the example data in one transaction. Idempotent. Returns how many rows each table gained.

    Raises DatabaseUnreachable, SchemaTooOld, StoreError.
    """
    connection = await connect(dsn, application_name="mobvibe-seed")
    try:
        with translated():
            await set_codecs(connection)
            async with connection.transaction():
                before = await _counts(connection)
                for days, person in enumerate(PEOPLE, start=1):
                    started = datetime.now(UTC).replace(microsecond=0) - timedelta(days=4 * days)
                    await _add_person(connection, person, started)
                after = await _counts(connection)
        return {table: after[table] - before[table] for table in after}
    finally:
        await connection.close()


async def _counts(connection: asyncpg.Connection) -> dict[str, int]:
    tables = ("profiles", "projects", "coding_sessions", "coding_jobs", "session_events")
    return {
        table: await connection.fetchval(f"select count(*) from public.{table}") for table in tables
    }


async def _add_person(connection: asyncpg.Connection, person: _Person, started: datetime) -> None:
    user = uuid5(_SPACE, person.name)
    done = await connection.execute(
        "insert into auth.users (id, email, raw_user_meta_data) values ($1, $2, $3)"
        " on conflict do nothing",
        user,
        person.email,
        {"display_name": person.name},
    )
    if done == "INSERT 0 0":
        return
    await connection.execute(
        "update public.profiles set tier = $2, sessions_limit = $3, created_at = $4 where id = $1",
        user,
        person.tier,
        SESSIONS_LIMIT[person.tier],
        started,
    )
    for number, app in enumerate(person.apps):
        await _add_app(connection, user, app, started + timedelta(hours=number + 1))


async def _add_app(
    connection: asyncpg.Connection, user: UUID, app: _App, started: datetime
) -> None:
    prompt = app.builds[0].prompt
    first = ProjectsInsert(
        user_id=user,
        name=app.name,
        slug="-".join(app.name.lower().split()),
        description=prompt,
        created_at=started,
    )
    project = await _added(connection, PROJECTS, first)
    conversation = CodingSessionsInsert(
        user_id=user,
        project_id=project.id,
        initial_prompt=prompt,
        platform="mobile",
        status=app.session,
        created_at=started,
    )
    session = await _added(connection, SESSIONS, conversation)
    for number, build in enumerate(app.builds):
        at = started + timedelta(minutes=9 * number)
        await _add_build(connection, session, app, build, at)
    if app.status != "active":
        await connection.execute(
            "update public.projects set status = $2 where id = $1", project.id, app.status
        )


async def _added(connection: asyncpg.Connection, rows: Table[R], values: Mapping[str, Any]) -> R:
    return rows.read(await connection.fetch(rows.insertion(values), *values.values()))[0]


async def _add_build(
    connection: asyncpg.Connection,
    session: CodingSessionsRow,
    app: _App,
    build: _Build,
    started: datetime,
) -> None:
    job = await _added(connection, JOBS, _ended_job(session, build, started))
    await connection.execute(
        "insert into public.job_turns (job_id, attempt, turn, project_id, model, usage, reserved_usd,"
        " cost_usd, created_at, settled_at) values ($1, 1, 1, $2, 'recorded', '{}', $3, $3, $4, $4)",
        job.id,
        session.project_id,
        Decimal("0.042000"),
        started,
    )
    revision = None
    if build.status == "completed":
        revision = await _add_revision(connection, job, app, build)
    for number, payload in enumerate(_story(build, revision)):
        await connection.execute(
            "insert into public.session_events (session_id, job_id, event_type, data, created_at)"
            " values ($1, $2, $3, $4, $5)",
            session.id,
            job.id,
            payload.type,
            to_data(payload),
            started + timedelta(seconds=12 * number),
        )


def _ended_job(session: CodingSessionsRow, build: _Build, started: datetime) -> CodingJobsInsert:
    return CodingJobsInsert(
        session_id=session.id,
        project_id=session.project_id,
        user_id=session.user_id,
        prompt=build.prompt,
        status=build.status,
        attempt=1,
        error="the checks still fail" if build.status == "failed" else None,
        created_at=started,
        started_at=started + timedelta(seconds=1),
        completed_at=started + timedelta(seconds=95),
    )


async def _add_revision(
    connection: asyncpg.Connection, job: CodingJobsRow, app: _App, build: _Build
) -> UUID:
    content = (
        "import { Text } from 'react-native';\n\n"
        f"// {build.prompt}\n"
        f"export default function App() {{\n  return <Text>{app.name}</Text>;\n}}\n"
    ).encode()
    made = await connection.fetch(
        "select private.add_revision($1, 'agent', j, $3, array['App.tsx'], array[$4::bytea],"
        " array[$5::bytea]) from public.coding_jobs j where j.id = $2",
        job.project_id,
        job.id,
        _GREEN.to_data(),
        hashlib.sha256(content).digest(),
        content,
    )
    return only(made, UUID)


def _story(build: _Build, revision: UUID | None) -> list[Payload]:
    started: list[Payload] = [
        Message(build.prompt, author="person"),
        Thinking("One screen, its state kept on the phone; then the checks."),
        FileChange("App.tsx", "modified", added=5, removed=1),
    ]
    if revision is not None:
        return [
            *started,
            Terminal("tsc --noEmit", "passed", seconds=3.2),
            Completion(str(revision), _GREEN.to_data(), "Done.", 1, 1, 1800, "0.042", 95.0),
        ]
    if build.status == "cancelled":
        return [*started, ErrorRaised("Cancelled.", is_cancelled=True)]
    return [
        *started,
        Terminal("tsc --noEmit", "failed", "App.tsx(4,10): error TS2322", 3.0),
        ErrorRaised("The checks still fail, so the last working version stays."),
    ]
