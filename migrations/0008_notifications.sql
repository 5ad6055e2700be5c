-- The notifications that are sent when a transaction commits.
--
-- new_job              JSON [{"id", "priority"}, ...]: jobs that can be claimed now
-- job_status_changed   JSON [{"id", "old", "new"}, ...]; with "cancel_requested": true for a running job to be cancelled
-- session_events       session:last_seq, comma-separated if one statement wrote to several sessions
-- project_head         the id of a project whose head revision moved
-- worker_changed       the id of a worker that started or ended
--
-- One notification per statement, split to stay below Postgres's limit of 8,000 bytes, and never with content: it is a
-- hint to look into the table, so losing one loses no data. The triggers of events (0003) and jobs (0005) send their own.
-- Supabase Realtime gets the same two tables through its publication. At the end, the local owner is signed up: the
-- person at this machine, without a limit.

create function private.notify_in_pieces(p_channel text, p_items text[], p_open text, p_close text)
returns void language plpgsql set search_path = '' as $$
declare
  first integer := 1;
begin
  while first <= cardinality(p_items) loop
    perform pg_notify(
      p_channel, p_open || array_to_string(p_items[first:first + 74], ',') || p_close
    );
    first := first + 75;
  end loop;
end
$$;

create function private.notify_head() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_notify('project_head', new.id::text);
  return null;
end
$$;
create trigger notify_head after update of head_revision_id on public.projects
  for each row when (new.head_revision_id is distinct from old.head_revision_id)
  execute function private.notify_head();

create function private.notify_worker() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_notify('worker_changed', new.id);
  return null;
end
$$;
create trigger notify_worker_came after insert on public.workers
  for each row execute function private.notify_worker();
create trigger notify_worker_went after update of gone_at on public.workers
  for each row when ((new.gone_at is null) <> (old.gone_at is null))
  execute function private.notify_worker();

revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;

do $$
declare
  wanted text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    comment on publication supabase_realtime is 'mobvibe-shim';
  end if;
  foreach wanted in array array['coding_jobs', 'session_events'] loop
    if not exists (
      select from pg_catalog.pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = wanted
    ) then
      execute format('alter publication supabase_realtime add table public.%I', wanted);
    end if;
  end loop;
end
$$;

insert into auth.users (id, email)
values ('00000000-0000-4000-8000-000000000001', 'local@mobvibe.invalid')
on conflict (id) do nothing;

-- Profiles of users that signed up before these tables existed; of several with the same email, the first gets it.
insert into public.profiles (id, email, display_name)
select u.id, nullif(u.email, ''), private.shown_name(u.raw_user_meta_data, u.email)
from auth.users u order by u.created_at, u.id
on conflict do nothing;
insert into public.profiles (id, display_name)
select u.id, private.shown_name(u.raw_user_meta_data, u.email) from auth.users u
on conflict (id) do nothing;

update public.profiles set tier = 'local', sessions_limit = null
where id = '00000000-0000-4000-8000-000000000001';
