"""Fills a database in seconds with the rows of a busy platform, most of them ended sessions and finished jobs."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from support.polling import patient


@dataclass(frozen=True, slots=True)
class Volume:
    """The number of rows. Sessions, events and jobs are spread evenly over the users."""

    users: int = 1_000
    sessions: int = 10_000
    events: int = 100_000
    jobs: int = 100_000


def user_at(number: int) -> UUID:
    """The id of a user, numbered from 1."""
    return UUID(int=(1 << 112) + number)


def session_at(number: int) -> UUID:
    """The id of a session, numbered from 1. It belongs to user `(number - 1) % users + 1`."""
    return UUID(int=(3 << 112) + number)


# The rows are consistent by construction, so this connection runs no triggers and checks no foreign keys.
_SEED = """
set session_replication_role = replica;
create function pg_temp.id(kind int, n bigint) returns uuid language sql immutable as $$
  select (lpad(to_hex(kind), 4, '0') || lpad(to_hex(n), 28, '0'))::uuid
$$;
insert into auth.users (id, email)
  select pg_temp.id(1, n), 'u' || n || '@example.com' from generate_series(1, {users}) n;
insert into public.profiles (id, email, display_name)
  select pg_temp.id(1, n), 'u' || n || '@example.com', 'u' || n from generate_series(1, {users}) n;
insert into public.projects (id, user_id, name, slug, status, created_at)
  select pg_temp.id(2, n), pg_temp.id(1, (n - 1) % {users} + 1), 'App ' || n, 'app-' || n,
    case when n % 20 = 0 then 'deleted' else 'active' end, now() - n * interval '1 minute'
  from generate_series(1, {users} * 5) n;
-- 2 % are open. Another 1 % have passed their expiry but are not marked yet.
insert into public.coding_sessions
  (id, user_id, project_id, status, platform, container_id, expires_at, last_seq, created_at)
  select pg_temp.id(3, n), pg_temp.id(1, (n - 1) % {users} + 1), pg_temp.id(2, (n - 1) % ({users} * 5) + 1),
    case when n % 100 < 3 then 'active' else (array['completed', 'failed', 'expired'])[n % 3 + 1] end,
    'mobile', 'session-' || n,
    case when n % 100 < 2 then now() + interval '1 hour' else now() - n * interval '1 minute' end,
    {events} / {sessions}, now() - n * interval '1 minute'
  from generate_series(1, {sessions}) n;
insert into public.coding_jobs
  (id, session_id, project_id, user_id, prompt, status, attempt, created_at, completed_at)
  select pg_temp.id(4, n), s.id, s.project_id, s.user_id, 'a prompt',
    case when n % 10 = 0 then 'failed' else 'completed' end, 1,
    now() - n * interval '1 minute', now() - n * interval '1 minute'
  from generate_series(1, {jobs}) n
  join public.coding_sessions s on s.id = pg_temp.id(3, (n - 1) % {sessions} + 1);
insert into public.coding_jobs (id, session_id, project_id, user_id, prompt, is_head)
  select pg_temp.id(5, n), s.id, s.project_id, s.user_id, 'a prompt', true
  from generate_series(1, 100) n join public.coding_sessions s on s.id = pg_temp.id(3, n);
insert into public.session_events (session_id, seq, user_id, event_type, data)
  select pg_temp.id(3, (n - 1) / per.session + 1), (n - 1) % per.session + 1,
    pg_temp.id(1, ((n - 1) / per.session) % {users} + 1), 'message',
    jsonb_build_object('text', 'event ' || n, 'author', 'agent')
  from (select {events} / {sessions} as session) per, generate_series(1, {events}::bigint) n;
insert into public.preview_containers
  (id, provider, container_id, session_id, project_id, user_id, metro_url, status, last_activity_at)
  select pg_temp.id(6, n), 'docker', 'container-' || n, s.id, s.project_id, s.user_id, 'http://127.0.0.1',
    case when n % 50 = 0 then 'running' else 'stopped' end,
    case when n % 100 = 0 then now() - interval '1 hour' else now() - n * interval '1 second' end
  from generate_series(1, {sessions}) n join public.coding_sessions s on s.id = pg_temp.id(3, n);
reset session_replication_role;
"""


async def seed_volume(connection: asyncpg.Connection, volume: Volume) -> None:
    """Fill a migrated database as its superuser, then analyze it."""
    await connection.execute(
        _SEED.format(
            users=volume.users, sessions=volume.sessions, events=volume.events, jobs=volume.jobs
        ),
        timeout=patient(1800),
    )
    await connection.execute("vacuum (analyze)", timeout=patient(900))
