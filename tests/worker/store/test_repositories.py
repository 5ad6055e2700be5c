"""People, projects, sessions, revisions and previews: made, changed, put away, brought back, read in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar
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
from mobvibe_worker.jobs import LOCAL_OWNER, ProjectId, RevisionId, SessionId, UserId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.connection.table import Page
from mobvibe_worker.store.connection.user_view import UserView
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.previews import PreviewRegistry
from mobvibe_worker.store.profiles import BY_EMAIL, BY_SIGN_UP, ProfileStore
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.rules import ProfileChanges, ProjectChanges
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.tables import PROJECTS
from support.postgres.database import new_session, running_job

T = TypeVar("T")


async def every(read: Callable[[str | None], Awaitable[Page[T]]]) -> list[T]:
    """All items of all pages."""
    found: list[T] = []
    cursor: str | None = None
    while True:
        page = await read(cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


async def test_a_person_is_found_by_email_through_an_index(pool: Pool) -> None:
    """Whatever its case; also who signed up second with an email, which only auth.users has then."""
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
    assert (await profiles.delete(first.id)).deleted_at is not None
    assert (await profiles.person("u7@example.com")).id == second
    await pool.execute("update profiles set email = null where id = $1", second)
    assert (await profiles.person("u7@example.com")).id == second
    for query in (BY_EMAIL, BY_SIGN_UP):
        plan = await pool.fetch("explain " + query.replace("$1", "'u9@example.com'"))
        assert any("_email_lower_idx" in line[0] for line in plan), plan
        assert not any("Seq Scan" in line[0] for line in plan), plan


async def test_a_person_signs_up_changes_leaves_and_comes_back(pool: Pool) -> None:
    profiles = ProfileStore(pool)
    ada = await profiles.create("Ada@example.com", "Ada")
    assert (ada.email, ada.display_name, ada.tier, ada.sessions_limit) == (
        *("Ada@example.com", "Ada", "free"),
        3,
    )
    assert (await profiles.person(" ada@EXAMPLE.com ")).id == ada.id
    changed = await profiles.update(ada.id, ProfileChanges(display_name="Ada L.", tier="pro"))
    assert (changed.display_name, changed.tier) == ("Ada L.", "pro")
    assert changed.sessions_limit is not None and changed.sessions_limit > 3

    gone = await profiles.delete(ada.id)
    assert gone.deleted_at is not None
    assert (await profiles.delete(ada.id)).deleted_at == gone.deleted_at
    with pytest.raises(NotFound, match="No person"):
        await profiles.person("ada@example.com")
    assert ada.id not in [each.id for each in (await profiles.list()).items]
    assert (await profiles.restore(ada.id)).deleted_at is None
    assert (await profiles.list(limit=1)).items[0].id == ada.id

    with pytest.raises(Conflict):
        await profiles.create("Ada@example.com")
    with pytest.raises(InputError):
        ProfileChanges(display_name="x" * 101)
    with pytest.raises(asyncpg.CheckViolationError, match="display_name"):
        await pool.execute("update profiles set display_name = repeat('x', 101)")
    sign_up = "insert into auth.users (email, raw_user_meta_data) values ($1, $2) returning id"
    long = await pool.fetchval(sign_up, "long@example.com", {"display_name": "é" * 300})
    assert (await profiles.get(UserId(long))).display_name == "é" * 100
    with pytest.raises(NotFound):
        await profiles.restore(UserId(uuid4()))


async def test_a_project_is_changed_archived_deleted_and_restored(pool: Pool) -> None:
    projects = ProjectStore(pool)
    timer = await projects.create(LOCAL_OWNER, "Coffee timer", 54)
    renamed = await projects.update(timer.id, ProjectChanges("Tea timer", "Steeps.", {"sdk": 57}))
    assert (renamed.name, renamed.description, renamed.sdk, renamed.slug) == (
        *("Tea timer", "Steeps.", 57),
        "coffee-timer",
    )
    assert (await projects.archive(timer.id)).status == "archived"
    assert (await projects.restore(timer.id)).status == "active"
    await projects.delete(timer.id)
    assert (await projects.delete(timer.id)).status == "deleted"
    with pytest.raises(NotFound):
        await projects.update(timer.id, ProjectChanges("again"))
    with pytest.raises(Conflict, match="deleted cannot become archived"):
        await projects.archive(timer.id)
    with pytest.raises(NotFound):
        await projects.by_slug(LOCAL_OWNER, "coffee-timer")

    second = await projects.create(LOCAL_OWNER, "Coffee timer", 54)
    assert second.slug == timer.slug
    with pytest.raises(Conflict, match="this name by now"):
        await projects.restore(timer.id)
    await projects.delete(second.id)
    assert (await projects.restore(timer.id)).status == "active"
    with pytest.raises(InputError):
        await projects.create(LOCAL_OWNER, "   ", 54)
    with pytest.raises(NotFound):
        await projects.archive(ProjectId(uuid4()))


async def test_a_session_moves_only_as_its_rules_allow(pool: Pool) -> None:
    sessions = SessionStore(pool)
    session = await new_session(pool)
    with pytest.raises(Conflict, match="pending cannot become paused"):
        await sessions.change_status(session, "paused")
    assert (await sessions.change_status(session, "active")).status == "active"
    assert (await sessions.change_status(session, "active")).status == "active"
    await pool.execute("update coding_sessions set expires_at = now() - interval '1 hour'")
    assert [each.id for each in await sessions.expired()] == [session]
    assert (await sessions.expire(session)).status == "expired"
    assert await sessions.expired() == []
    restored = await sessions.restore(session)
    assert restored.status == "active"
    assert (restored.expires_at - restored.created_at).total_seconds() > 3600
    with pytest.raises(NotFound):
        await sessions.change_status(SessionId(uuid4()), "active")


async def test_the_limit_of_open_sessions_is_said_and_ends_with_one(pool: Pool) -> None:
    ada = await ProfileStore(pool).create("ada@example.com")
    project, sessions = await ProjectStore(pool).create(ada.id, "Notes", 54), SessionStore(pool)
    opened = [await sessions.create(project.id, "notes") for _ in range(3)]
    with pytest.raises(SessionLimitReached, match="limit of 3 open sessions") as refused:
        await sessions.create(project.id, "one more")
    assert "Complete a session" in refused.value.remedy
    await sessions.expire(opened[0])
    more = await sessions.create(project.id, "one more")
    with pytest.raises(SessionLimitReached):
        await sessions.restore(opened[0])
    pages = await every(lambda at: sessions.page(project.id, cursor=at, limit=1))
    assert [each.id for each in pages] == [more, *reversed(opened)]


async def test_an_earlier_revision_becomes_the_head_and_nothing_later_is_lost(pool: Pool) -> None:
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
    pages = await every(lambda at: revisions.page(job.project_id, cursor=at, limit=2))
    assert [each.id for each in pages] == [restored.id, second.id, first.id]


async def test_previews_are_found_idle_and_come_back(pool: Pool) -> None:
    job, _ = await running_job(pool)
    registry = PreviewRegistry(pool)

    async def serve() -> None:
        await registry.upsert(
            job.session_id, job.project_id, "process", "p1", "http://127.0.0.1:1", "running"
        )

    await serve()
    await registry.measured("p1", {"cpu": 0.5})
    assert (await registry.get("p1")).resource_usage == {"cpu": 0.5}
    half_hour = timedelta(minutes=30)
    assert await registry.idle(half_hour) == []
    await pool.execute("update preview_containers set last_activity_at = now() - interval '31 min'")
    assert [each.container_id for each in await registry.idle(half_hour)] == ["p1"]
    await registry.stopped("p1")
    assert (await registry.get("p1")).status == "stopped" and not await registry.idle(half_hour)
    await serve()
    assert [each.status for each in (await registry.page(LOCAL_OWNER)).items] == ["running"]
    with pytest.raises(NotFound):
        await registry.get("p2")


async def test_pages_hold_every_row_once_while_others_write(pool: Pool) -> None:
    projects = ProjectStore(pool)
    made = [(await projects.create(LOCAL_OWNER, f"App {n}", 54)).id for n in range(7)]
    same_moment = "update projects set created_at = '2026-01-01' where id = any ($1::uuid[])"
    await pool.execute(same_moment, made[2:5])

    async def read(cursor: str | None) -> Page[Any]:
        page = await projects.page(LOCAL_OWNER, cursor=cursor, limit=2)
        await projects.create(LOCAL_OWNER, "Newcomer", 54)
        return page

    assert sorted(each.id for each in await every(read)) == sorted(made)
    for spoiled in ("?", "YWJj", "MjAyNi0wMS0wMSBub25l"):
        with pytest.raises(InputError, match="cursor"):
            await projects.page(LOCAL_OWNER, cursor=spoiled)
    with pytest.raises(InputError):
        await projects.page(LOCAL_OWNER, limit=0)


async def test_names_that_become_sql_are_the_contracts_own(pool: Pool) -> None:
    with pytest.raises(ValueError, match="no column"):
        await PROJECTS.update(pool, uuid4(), {"name = 'x' --": 1})
    with pytest.raises(Conflict):
        missing = {"user_id": uuid4(), "name": "a", "slug": "a"}
        await PROJECTS.insert(pool, missing)


async def test_a_persons_view_holds_their_rows_only_and_writes_nothing(pool: Pool) -> None:
    profiles = ProfileStore(pool)
    await profiles.create("ada@example.com")
    ada = await profiles.person("ada@example.com")
    theirs = await ProjectStore(pool).create(ada.id, "Notes", 54)
    session = await SessionStore(pool).create(theirs.id, "notes")
    await JobQueue(pool).enqueue(session, "make notes")
    other = await new_session(pool)
    await JobQueue(pool).enqueue(other, "a timer")
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
        await ProjectStore(view).update(theirs.id, ProjectChanges("Stolen"))
    with pytest.raises(Denied):
        await JobQueue(view).enqueue(session, "more")
    roles = await asyncio.gather(*(pool.fetchval("select current_user") for _ in range(10)))
    assert "authenticated" not in roles


async def test_a_view_outlives_a_migration(pool: Pool, database_url: str) -> None:
    """Statements that were prepared before it are prepared again, inside a transaction too."""
    profiles = ProfileStore(pool)
    await profiles.create("ada@example.com")
    ada = await profiles.person("ada@example.com")
    narrow = await open_pool(database_url, size=1)
    try:
        view = ProfileStore(UserView(narrow, ada))
        for _ in range(3):
            await view.get(ada.id)
        await pool.execute("alter table profiles alter column display_name type varchar(200)")
        assert (await view.get(ada.id)).display_name == "ada"
    finally:
        await narrow.close()


async def test_errors_are_told_apart(database_url: str, pool: Pool) -> None:
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
