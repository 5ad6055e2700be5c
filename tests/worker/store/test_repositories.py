"""Profiles, projects, sessions, revisions and previews are created, changed, deleted, restored and listed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest
from asyncpg import Pool

from mobvibe_worker.errors import (
    Conflict,
    Denied,
    HeadMoved,
    InputError,
    NotFound,
    SessionLimitReached,
    StoreError,
)
from mobvibe_worker.events import Message
from mobvibe_worker.jobs import LOCAL_OWNER, ProjectId, Prompt, RevisionId, SessionId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.connection.user_view import UserView
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.previews import PreviewRegistry, container_id
from mobvibe_worker.store.profiles import BY_EMAIL, BY_SIGN_UP, ProfileStore
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.tables import PROJECTS
from support.postgres.database import new_session, running_job, signed_up


async def test_a_person_is_found_by_email_through_an_index(pool: Pool) -> None:
    """In any case, and even a second sign-up with the same email, which is only in auth.users."""
    profiles = ProfileStore(pool)
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into auth.users (email) select 'u' || n || '@example.com'"
            " from generate_series(1, 3000) n; analyze public.profiles; analyze auth.users"
        )
    second = await pool.fetchval(
        "insert into auth.users (email) values ('U7@example.com') returning id"
    )
    first = await profiles.person("u7@EXAMPLE.com")
    await pool.execute("update profiles set deleted_at = now() where id = $1", first.id)
    assert (await profiles.person("u7@example.com")).id == second
    await pool.execute("update profiles set email = null where id = $1", second)
    assert (await profiles.person("u7@example.com")).id == second
    for query in (BY_EMAIL, BY_SIGN_UP):
        plan = await pool.fetch("explain " + query.replace("$1", "'u9@example.com'"))
        assert any("_email_lower_idx" in line[0] for line in plan), plan
        assert not any("Seq Scan" in line[0] for line in plan), plan


async def test_a_deleted_profile_is_not_found_until_it_is_restored(pool: Pool) -> None:
    profiles = ProfileStore(pool)
    ada = await signed_up(pool, "Ada@example.com")
    assert await profiles.person(" ada@EXAMPLE.com ") == ada
    row = "select (display_name, tier, sessions_limit) from profiles where id = $1"
    assert await pool.fetchval(row, ada.id) == ("Ada", "free", 3)

    await pool.execute("update profiles set deleted_at = now() where id = $1", ada.id)
    with pytest.raises(NotFound, match="No person"):
        await profiles.person("ada@example.com")
    await pool.execute("update profiles set deleted_at = null where id = $1", ada.id)
    assert await profiles.person("ada@example.com") == ada

    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute("insert into auth.users (email) values ('Ada@example.com')")
    with pytest.raises(asyncpg.CheckViolationError, match="display_name"):
        await pool.execute("update profiles set display_name = repeat('x', 101)")
    sign_up = "insert into auth.users (email, raw_user_meta_data) values ($1, $2) returning id"
    long = await pool.fetchval(sign_up, "long@example.com", {"display_name": "é" * 300})
    shown = await pool.fetchval("select display_name from profiles where id = $1", long)
    assert shown == "é" * 100


async def test_a_deleted_project_frees_its_slug(pool: Pool) -> None:
    projects = ProjectStore(pool)
    become = "update projects set status = $2 where id = $1"
    timer = await projects.create(LOCAL_OWNER, "Coffee timer", 54)
    await pool.execute("update projects set name = 'Tea timer' where id = $1", timer.id)
    assert (await projects.by_slug(LOCAL_OWNER, "coffee-timer")).name == "Tea timer"
    await pool.execute(become, timer.id, "deleted")
    assert (await projects.get(timer.id)).status == "deleted"
    with pytest.raises(NotFound):
        await projects.by_slug(LOCAL_OWNER, "coffee-timer")

    second = await projects.create(LOCAL_OWNER, "Coffee timer", 54)
    assert second.slug == timer.slug
    assert [each.id for each in await projects.list(LOCAL_OWNER)] == [second.id]
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(become, timer.id, "active")
    await pool.execute(become, second.id, "deleted")
    await pool.execute(become, timer.id, "active")
    with pytest.raises(InputError):
        await projects.create(LOCAL_OWNER, "   ", 54)
    with pytest.raises(NotFound):
        await projects.get(ProjectId(uuid4()))


async def test_the_limit_of_open_sessions_is_reported_and_an_ended_one_frees_a_slot(
    pool: Pool,
) -> None:
    become = "update coding_sessions set status = $2 where id = $1"
    ada = await signed_up(pool, "ada@example.com")
    project, sessions = await ProjectStore(pool).create(ada.id, "Notes", 54), SessionStore(pool)
    opened = [await sessions.create(project.id, "notes") for _ in range(3)]
    with pytest.raises(SessionLimitReached, match="limit of 3 open sessions") as refused:
        await sessions.create(project.id, "one more")
    assert "Complete a session" in refused.value.remedy
    await pool.execute(become, opened[0], "expired")
    assert (await sessions.get(opened[0])).status == "expired"
    await sessions.create(project.id, "one more")
    with pytest.raises(asyncpg.PostgresError, match="limit of 3 open sessions"):
        await pool.execute(become, opened[0], "active")
    with pytest.raises(NotFound):
        await sessions.get(SessionId(uuid4()))


async def test_restoring_an_earlier_revision_loses_no_later_one(pool: Pool) -> None:
    revisions = RevisionStore(pool)
    job, attempt = await running_job(pool)
    first = await revisions.commit_template(attempt, {"App.tsx": b"one", "a.txt": b""})
    second = await revisions.commit_person(job.project_id, first.id, {"App.tsx": b"two"})
    restored = await revisions.restore(job.project_id, second.id, first.id)
    head = await revisions.head(job.project_id)
    assert head == (restored, {"App.tsx": b"one", "a.txt": b""})
    assert (restored.source, restored.parent_id) == ("restore", second.id)
    assert await revisions.files(second.id) == {"App.tsx": b"two"}
    with pytest.raises(HeadMoved):
        await revisions.restore(job.project_id, second.id, first.id)
    with pytest.raises(NotFound):
        await revisions.restore(job.project_id, restored.id, RevisionId(uuid4()))


async def test_idle_previews_are_found_and_stopped_ones_can_return(pool: Pool) -> None:
    job, _ = await running_job(pool)
    await pool.execute("update coding_jobs set status = 'completed', updated_at = '2026-01-01'")
    registry, half_hour = PreviewRegistry(pool), timedelta(minutes=30)
    name = container_id("process", "home", "timer")

    async def serve() -> None:
        await registry.upsert(
            job.session_id, job.project_id, "process", name, "http://127.0.0.1:1", "running"
        )

    await serve()
    await registry.measured(name, {"cpu": 0.5})
    assert [each.resource_usage for each in await registry.of_home("home")] == [{"cpu": 0.5}]
    assert await registry.idle_of_home("home", half_hour) == []
    assert await registry.of_home("other") == []
    await pool.execute("update preview_containers set last_activity_at = now() - interval '31 min'")
    await pool.execute("alter table coding_jobs disable trigger user")
    await pool.execute("update coding_jobs set updated_at = now() - interval '31 min'")
    (idle,) = await registry.idle_of_home("home", half_hour)
    assert idle.container_id == name
    await registry.stopped(name)
    assert not await registry.of_home("home") and not await registry.idle_of_home("home", half_hour)
    await serve()
    assert [each.status for each in await registry.of_home("home")] == ["running"]
    other = await ProjectStore(pool).create(LOCAL_OWNER, "Other", 54)
    with pytest.raises(NotFound):
        await registry.upsert(job.session_id, other.id, "process", "p", "http://a", "running")


async def test_only_column_names_of_the_contracts_become_sql(pool: Pool) -> None:
    with pytest.raises(ValueError, match="no column"):
        await PROJECTS.change(pool, uuid4(), {"name = 'x' --": 1})
    with pytest.raises(Conflict):
        missing = {"user_id": uuid4(), "name": "a", "slug": "a"}
        await PROJECTS.insert(pool, missing)


async def test_a_persons_view_shows_only_their_rows_and_cannot_write(pool: Pool) -> None:
    ada = await signed_up(pool, "ada@example.com")
    theirs = await ProjectStore(pool).create(ada.id, "Notes", 54)
    session = await SessionStore(pool).create(theirs.id, "notes")
    await JobQueue(pool).enqueue(session, Prompt("make notes"))
    other = await new_session(pool)
    await JobQueue(pool).enqueue(other, Prompt("a timer"))
    await EventLog(pool).append(other, [Message("secret")])

    view = UserView(pool, ada)
    assert [row.id for row in await SessionStore(view).summaries(ada.id)] == [session]
    assert await SessionStore(view).summaries(LOCAL_OWNER) == []
    assert (await JobQueue(view).visible_stats()).pending == 1
    assert (await JobQueue(pool).visible_stats()).pending == 2
    assert await EventLog(view).read(session) and not await EventLog(view).read(other)
    with pytest.raises(NotFound):
        await SessionStore(view).get(other)
    with pytest.raises(Denied):
        await SessionStore(view).set_preview(session, "http://a", None, None)
    with pytest.raises(Denied):
        await JobQueue(view).enqueue(session, Prompt("more"))
    roles = await asyncio.gather(*(pool.fetchval("select current_user") for _ in range(10)))
    assert "authenticated" not in roles


async def test_a_view_keeps_working_after_a_migration(pool: Pool, database_url: str) -> None:
    """Statements prepared before the migration are prepared again, even inside a transaction."""
    ada = await signed_up(pool, "ada@example.com")
    narrow = await open_pool(database_url, size=1)
    try:
        view = ProfileStore(UserView(narrow, ada))
        for _ in range(3):
            await view.person("ada@example.com")
        await pool.execute("alter table profiles alter column display_name type varchar(200)")
        assert await view.person("ada@example.com") == ada
    finally:
        await narrow.close()


async def test_the_kinds_of_store_errors_are_distinct(database_url: str, pool: Pool) -> None:
    with pytest.raises(StoreError) as bad_check:
        await ProjectStore(pool).create(LOCAL_OWNER, "a", 54, slug="Not A Slug")
    assert not isinstance(bad_check.value, Conflict | Denied)
    for kind in (Conflict("a"), Denied("a"), NotFound("a")):
        assert isinstance(kind, StoreError)
    assert Conflict("a").remedy and Denied("a").remedy
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute("set local role authenticated; delete from profiles")
    finally:
        await connection.close()
