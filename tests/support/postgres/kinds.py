"""The four kinds of database that the migrations support, each prepared as its provider would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.postgres.clusters import OwnCluster, debian_15, running

KINDS = ("plain-18", "plain-15", "neon-15", "supabase-18")
_NEON, _SUPABASE = "neon_owner", "supabase_owner"

_THEIRS = """
create table public.theirs (id int primary key, note text);
create function public.theirs_touch() returns trigger language plpgsql as
  $$ begin new.note := 'touched'; return new; end $$;
create trigger touch before update on public.theirs for each row execute function public.theirs_touch();
"""

_SUPABASE_ROLES = """
do $$
declare
  one text;
begin
  foreach one in array array['anon', 'authenticated', 'service_role', 'supabase_auth_admin'] loop
    if not exists (select from pg_roles where rolname = one) then
      execute format('create role %I noinherit', one);
    end if;
    execute format('grant %I to supabase_owner', one);
  end loop;
  alter role service_role bypassrls;
  revoke supabase_auth_admin from supabase_owner;
end
$$;
"""

_SUPABASE_DATABASE = """
alter default privileges for role supabase_owner in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges for role supabase_owner in schema public
  grant all on functions to anon, authenticated, service_role;
alter default privileges for role supabase_owner in schema public
  grant all on sequences to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;
create schema auth authorization supabase_auth_admin;
set role supabase_auth_admin;
create table auth.users (
  instance_id uuid, id uuid primary key, aud varchar(255), role varchar(255), email varchar(255),
  encrypted_password varchar(255), raw_app_meta_data jsonb, raw_user_meta_data jsonb,
  created_at timestamptz, updated_at timestamptz, phone text unique default null,
  is_sso_user boolean not null default false, is_anonymous boolean not null default false,
  deleted_at timestamptz
);
create unique index users_email_partial_key on auth.users (email) where is_sso_user = false;
alter table auth.users enable row level security;
create function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
  )::uuid
$$;
create function auth.role() returns text language sql stable as $$
  select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')::text
$$;
grant usage on schema auth to anon, authenticated, service_role, supabase_owner;
grant all on auth.users to supabase_owner;
reset role;
create publication supabase_realtime for table public.theirs;
alter publication supabase_realtime owner to supabase_owner;
"""


@dataclass(frozen=True, slots=True)
class PreparedDatabase:
    """A database as its provider delivers it, without our schema but with an unrelated table."""

    kind: str
    server: OwnCluster
    name: str
    owner: str

    @property
    def url(self) -> str:
        """The value that a person would set as DATABASE_URL."""
        return self.server.url(self.name, self.owner)

    @property
    def administrator_url(self) -> str:
        """The same database for the server's superuser, to which providers give no access."""
        return self.server.url(self.name)


async def _has_role(server: OwnCluster, name: str) -> bool:
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        found = await connection.fetchval("select count(*) from pg_roles where rolname = $1", name)
        return bool(found)
    finally:
        await connection.close()


async def prepare(server: OwnCluster, kind: str) -> PreparedDatabase:
    """Create a database of this kind on the server."""
    provider = kind.partition("-")[0]
    name = f"{provider}_{uuid4().hex[:12]}"
    owner = {"plain": "mobvibe", "neon": _NEON, "supabase": _SUPABASE}[provider]
    if provider != "plain" and not await _has_role(server, owner):
        await server.run_sql(
            f"create role {owner} login createdb createrole bypassrls password '{server.password}'"
        )
    if provider == "supabase":
        await server.run_sql(_SUPABASE_ROLES)
    await server.run_sql(f"create database {name} owner {owner}")
    await server.run_sql(_THEIRS, name, owner)
    if provider == "supabase":
        await server.run_sql(_SUPABASE_DATABASE, name)
    return PreparedDatabase(kind, server, name, owner)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_neon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnCluster]:
    """A separate Postgres 15 on which no superuser has run our migrations, because roles belong to the server."""
    cluster = OwnCluster(debian_15(), tmp_path_factory.mktemp("neon"), fsync="off")
    async with running(cluster):
        yield cluster


_SERVERS = {
    "plain-18": "server_18",
    "plain-15": "server_15",
    "neon-15": "server_neon",
    "supabase-18": "server_18",
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, OwnCluster]:
    """Each kind with its server, which starts with the first test that needs it."""
    return request.param, request.getfixturevalue(_SERVERS[request.param])


@pytest_asyncio.fixture
async def prepared(kind: tuple[str, OwnCluster]) -> PreparedDatabase:
    """An unmigrated database of each kind."""
    name, server = kind
    return await prepare(server, name)


@pytest_asyncio.fixture
async def migrated(prepared: PreparedDatabase) -> PreparedDatabase:
    """A migrated database of each kind."""
    await MigrationRunner(prepared.url).migrate()
    return prepared
