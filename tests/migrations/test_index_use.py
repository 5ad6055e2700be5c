"""The common queries use an index and take milliseconds with the data volume of a real platform."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.containers.volumes import Volume, seed_volume, session_at, user_at
from support.postgres.clusters import OwnCluster
from support.postgres.kinds import prepare

MILLISECONDS = 10.0
BIG = {"projects", "coding_sessions", "coding_jobs", "session_events", "preview_containers"}
USER, SESSION = user_at(1), session_at(1)
OPEN = "status in ('pending', 'active', 'paused')"
# Name -> the query, and the indexes of which it must use one.
QUERIES: dict[str, tuple[str, set[str]]] = {
    "a user's projects": (
        f"select * from public.projects where user_id = '{USER}' and status <> 'deleted'"
        " order by created_at desc, id desc limit 50",
        {"projects_user_id_idx", "projects_slug_key"},
    ),
    "a user's project by slug": (
        f"select * from public.projects where user_id = '{USER}' and slug = 'app-1'"
        " and status <> 'deleted'",
        {"projects_slug_key"},
    ),
    "a user's open sessions": (
        f"select * from public.coding_sessions where user_id = '{USER}' and {OPEN}"
        " and expires_at > now()",
        {"coding_sessions_user_id_idx"},
    ),
    "active sessions": (
        "select * from public.coding_sessions where status = 'active' and expires_at > now()",
        {"coding_sessions_status_idx", "coding_sessions_expires_at_idx"},
    ),
    "a project's newest session": (
        "select id from public.coding_sessions s where s.project_id ="
        f" (select id from public.projects where user_id = '{USER}' limit 1)"
        " order by created_at desc, id desc limit 1",
        {"coding_sessions_project_id_idx"},
    ),
    "expired sessions": (
        f"select * from public.coding_sessions where expires_at < now() and {OPEN}"
        " order by expires_at limit 100",
        {"coding_sessions_status_idx", "coding_sessions_expires_at_idx"},
    ),
    "sessions to expire": (
        "select s.id from public.coding_sessions s where (starts_with(s.status, 'pending')"
        " or starts_with(s.status, 'active') or starts_with(s.status, 'paused'))"
        " and s.expires_at < statement_timestamp() order by s.expires_at limit 100",
        {"coding_sessions_open_idx"},
    ),
    "a session by its container": (
        "select * from public.coding_sessions where container_id = 'session-77'",
        {"coding_sessions_container_id_idx"},
    ),
    "recent events of a session": (
        f"select * from public.session_events where session_id = '{SESSION}'"
        " order by seq desc limit 50",
        {"session_events_pkey"},
    ),
    "events that a reader has not seen": (
        f"select * from public.session_events where session_id = '{SESSION}' and seq > 5"
        " order by seq limit 500",
        {"session_events_pkey"},
    ),
    "idle previews": (
        "select * from public.preview_containers where last_activity_at < now() - interval '30 min'"
        " and status in ('starting', 'running') order by last_activity_at limit 100",
        {"preview_containers_status_idx", "preview_containers_last_activity_idx"},
    ),
    "a container by its id": (
        "select * from public.preview_containers where container_id = 'container-77'",
        {"preview_containers_container_id_key"},
    ),
    "a session's jobs": (
        f"select * from public.coding_jobs where session_id = '{SESSION}'"
        " order by created_at desc limit 1",
        {"coding_jobs_session_idx"},
    ),
    "the next jobs to claim": (
        "select id from public.coding_jobs where status = 'pending' and is_head and run_at is null"
        " order by priority desc, created_at, id limit 4 for no key update skip locked",
        {"coding_jobs_ready_idx"},
    ),
    "jobs whose lease ran out": (
        "select id from public.coding_jobs where status = 'processing' and lease_expires_at < now()"
        " order by lease_expires_at limit 100",
        {"coding_jobs_leases_idx"},
    ),
}
OF_A_USER = {
    "my projects": ("select * from public.projects order by created_at desc limit 50", "projects"),
    "my open sessions": (
        f"select * from public.coding_sessions where {OPEN} and expires_at > now()",
        "coding_sessions",
    ),
    "recent events of my session": (QUERIES["recent events of a session"][0], "session_events"),
    "how many events I have": ("select count(*) from public.session_events", "session_events"),
}


@pytest.fixture(scope="module", params=["server_15", "server_18"])
def server(request: pytest.FixtureRequest) -> OwnCluster:
    """Postgres 15 and 18."""
    found: OwnCluster = request.getfixturevalue(request.param)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full_url(server: OwnCluster) -> AsyncIterator[str]:
    """A database with 1,000 users, 10,000 sessions, 100,000 events and 100,000 finished jobs."""
    database = await prepare(server, "plain")
    await MigrationRunner(database.url).migrate()
    connection = await asyncpg.connect(database.url)
    await seed_volume(connection, Volume())
    counted = await connection.fetchrow(
        "select (select count(*) from public.profiles) >= 1000 and (select count(*) from"
        " public.coding_sessions) = 10000 and (select count(*) from public.session_events) = 100000"
        " and (select count(*) from public.coding_jobs where completed_at is not null) = 100000"
    )
    assert counted is not None and counted[0]
    await connection.close()
    yield database.url
    await server.run_sql(f"drop database {database.name} with (force)")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


async def _explain(connection: asyncpg.Connection, query: str) -> tuple[dict[str, Any], float]:
    """Return the plan and the shortest of three times, in milliseconds including planning."""
    times = []
    for _ in range(3):
        answer = json.loads(await connection.fetchval(f"explain (analyze, format json) {query}"))
        times.append(answer[0]["Execution Time"] + answer[0]["Planning Time"])
    return answer[0]["Plan"], min(times)


def _scans(plan: dict[str, Any]) -> set[str]:
    return {
        node["Relation Name"]
        for node in _nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG
    }


async def test_common_queries_use_an_index(full_url: str) -> None:
    connection = await asyncpg.connect(full_url)
    try:
        for name, (query, indexes) in QUERIES.items():
            plan, milliseconds = await _explain(connection, query)
            read = {node["Index Name"] for node in _nodes(plan) if "Index Name" in node}
            assert not _scans(plan), name
            assert read & indexes, f"{name} reads {read}"
            assert milliseconds < MILLISECONDS, name

        plan, _ = await _explain(connection, "select * from public.projects where name = 'App 7'")
        assert _scans(plan) == {"projects"}, "the check must recognise a full scan"
    finally:
        await connection.close()


async def test_queries_under_row_security_use_an_index(full_url: str) -> None:
    connection = await asyncpg.connect(full_url)
    try:
        async with connection.transaction():
            await connection.execute(
                "select set_config('role', 'authenticated', true),"
                " set_config('request.jwt.claims', $1, true)",
                json.dumps({"sub": str(USER)}),
            )
            for name, (query, table) in OF_A_USER.items():
                assert len(await connection.fetch(query)) > 0, name
                plan, milliseconds = await _explain(connection, query)
                assert table not in _scans(plan), name
                assert milliseconds < MILLISECONDS, name
    finally:
        await connection.close()
