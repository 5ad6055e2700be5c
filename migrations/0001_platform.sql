-- The platform beneath the tables: creates what every Supabase database has, if it is missing.
--
-- This is three roles (anon, authenticated, service_role), the schema `auth` with its users and the functions that read
-- the caller's claims, and our schema `private` for helpers that no client may reach through an API.
-- Roles belong to the whole cluster, so they are created if missing (two databases may race for that) and never dropped.
-- The schema `auth`, its users and `auth.uid()` are created one by one, since a provider may already have some of them.
-- Those that we create are marked with a comment, and only these are dropped on the way down.

do $$
declare
  wanted text;
  -- Since Postgres 16, the creator of a role is its member and administrator, but cannot switch to it yet.
  taken_on constant text := case
    when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member'
  end;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin noinherit', wanted);
      exception when duplicate_object or unique_violation then
        raise notice 'role % was created by another session', wanted;
      end;
    end if;
  end loop;

  if not (select rolbypassrls from pg_catalog.pg_roles where rolname = 'service_role') then
    begin
      alter role service_role bypassrls;
    exception
      when insufficient_privilege then
        raise notice 'service_role may not bypass row-level security here: 0004 gives it policies';
      when sqlstate 'XX000' then  -- tuple concurrently updated: another database's migration did the same
        raise notice 'service_role is being altered by another session';
    end;
  end if;

  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if not pg_catalog.pg_has_role(current_user, wanted, taken_on) then
      begin
        execute format('grant %I to current_user', wanted);
      exception
        when insufficient_privilege then
          raise warning '% cannot switch to the role %', current_user, wanted;
        when unique_violation or sqlstate 'XX000' then
          raise notice 'the role % is being granted by another session', wanted;
      end;
    end if;
  end loop;
end
$$;

do $$
begin
  if to_regnamespace('auth') is null then
    create schema auth;
    comment on schema auth is 'mobvibe-shim';
    grant usage on schema auth to anon, authenticated, service_role;

    create function auth.role() returns text language sql stable as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
      )::text
    $body$;

    create function auth.email() returns text language sql stable as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
      )::text
    $body$;

    create function auth.jwt() returns jsonb language sql stable as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
      )::jsonb
    $body$;
  end if;

  if to_regclass('auth.users') is null then
    create table auth.users (
      id uuid primary key default gen_random_uuid(),
      email text unique,
      phone text unique,
      raw_app_meta_data jsonb,
      raw_user_meta_data jsonb,
      is_anonymous boolean not null default false,
      created_at timestamptz default now(),
      updated_at timestamptz default now(),
      deleted_at timestamptz
    );
    create index users_email_lower_idx on auth.users (lower(email));
    comment on table auth.users is 'mobvibe-shim';
    alter table auth.users enable row level security;
    grant all on auth.users to service_role;
  end if;

  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
      )::uuid
    $body$;
    comment on function auth.uid() is 'mobvibe-shim';
  end if;
end
$$;

create schema private;
comment on schema private is 'Helpers of mobvibe that no API exposes.';
grant usage on schema private to authenticated, service_role;

-- Granted only if missing, so that nothing has to be revoked on the way down.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if not has_schema_privilege(wanted, 'public', 'usage') then
      execute format('grant usage on schema public to %I', wanted);
    end if;
  end loop;
end
$$;

-- Time-ordered identifiers (RFC 9562, version 7); uses the server's function if it has one.
do $$
begin
  if to_regprocedure('pg_catalog.uuidv7()') is not null then
    create function private.uuid7() returns uuid language sql volatile set search_path = '' as $body$
      select uuidv7()
    $body$;
  else
    create function private.uuid7() returns uuid language sql volatile set search_path = '' as $body$
      select encode(
        set_bit(
          set_bit(
            overlay(
              uuid_send(gen_random_uuid())
              placing substring(
                int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3
              )
              from 1 for 6
            ),
            52, 1
          ),
          53, 1
        ),
        'hex'
      )::uuid
    $body$;
  end if;
end
$$;

create function private.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end
$$;

revoke all on all functions in schema private from public;
grant execute on function private.uuid7() to authenticated, service_role;
