-- Retention: expires sessions, and deletes old jobs, workers and events.
--
-- Every worker calls these functions now and then. An advisory lock, held until the end of the transaction, lets one of
-- them work, and the others get null. Each call processes one limited batch and skips locked rows, so it never blocks a
-- worker. Expiry only frees a slot: a session with a live job stays open, and a new prompt revives an expired one. Head
-- revisions, and everything that they need, are never deleted.

create function private.lock_retention() returns boolean language sql volatile set search_path = '' as $$
  select pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('mobvibe retention', 0))
$$;

-- Takes the project's lock, which every new job of the session needs, so that none can arrive between check and update.
-- A project that is locked is skipped until the next call.
create function public.expire_sessions(p_limit integer default 100) returns integer
language plpgsql set search_path = '' as $$
declare
  one record;
  expired integer := 0;
begin
  if not private.lock_retention() then
    return null;
  end if;
  for one in
    select s.id, s.project_id from public.coding_sessions s
    where (
        starts_with(s.status, 'pending') or starts_with(s.status, 'active')
        or starts_with(s.status, 'paused')
      )
      and s.expires_at < statement_timestamp()
      and not exists (
        select from public.coding_jobs j
        where j.session_id = s.id and j.status in ('pending', 'processing')
      )
    order by s.expires_at limit p_limit
  loop
    perform from public.projects p where p.id = one.project_id for no key update skip locked;
    continue when not found;
    update public.coding_sessions s set status = 'expired'
    where s.id = one.id
      and s.status in ('pending', 'active', 'paused') and s.expires_at < statement_timestamp()
      and not exists (
        select from public.coding_jobs j
        where j.session_id = s.id and j.status in ('pending', 'processing')
      );
    if found then
      expired := expired + 1;
    end if;
  end loop;
  return expired;
end
$$;

-- Deletes jobs that ended before a time, with their turns. Their events and revisions stay, without a job_id.
create function public.forget_jobs(p_before timestamptz, p_limit integer default 200) returns integer
language plpgsql set search_path = '' as $$
declare
  forgotten integer;
begin
  if not private.lock_retention() then
    return null;
  end if;
  delete from public.coding_jobs j
  where j.id = any (array(
    select o.id from public.coding_jobs o
    where o.completed_at < p_before and o.status in ('completed', 'failed', 'cancelled')
    order by o.completed_at limit p_limit
    for update skip locked
  ));
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;

-- Deletes workers that ended, or sent their last heartbeat, before a time.
create function public.forget_workers(p_before timestamptz, p_limit integer default 1000) returns integer
language plpgsql set search_path = '' as $$
declare
  forgotten integer;
begin
  if not private.lock_retention() then
    return null;
  end if;
  delete from public.workers w
  where w.id = any (array(
    select o.id from public.workers o
    where o.last_heartbeat_at < p_before and (o.gone_at is null or o.gone_at < p_before)
    limit p_limit
    for update skip locked
  ));
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;

-- For the table's owner only: deletes the events of sessions that expired before a time and have no live job, the oldest
-- first. Returns where the next call continues, or null at the end. One call looks at up to 1,000 sessions.
create function private.forget_events(
  p_before timestamptz,
  p_limit integer default 10000,
  p_after timestamptz default '-infinity',
  p_after_session uuid default '00000000-0000-0000-0000-000000000000',
  out forgotten integer,
  out reached timestamptz,
  out reached_session uuid
) language plpgsql set search_path = '' as $$
declare
  one record;
  looked_at integer := 0;
  deleted integer;
begin
  if not private.lock_retention() then
    return;
  end if;
  forgotten := 0;
  perform set_config('mobvibe.forgetting', 'on', true);
  for one in
    select s.id, s.expires_at from public.coding_sessions s
    where s.expires_at < p_before and (s.expires_at, s.id) > (p_after, p_after_session)
    order by s.expires_at, s.id limit 1000
  loop
    looked_at := looked_at + 1;
    perform from public.coding_sessions s
    where s.id = one.id and s.expires_at < p_before and not exists (
      select from public.coding_jobs j
      where j.session_id = s.id and j.status in ('pending', 'processing')
    )
    for no key update skip locked;
    if found then
      delete from public.session_events e
      where e.session_id = one.id and e.seq = any (array(
        select o.seq from public.session_events o
        where o.session_id = one.id order by o.seq limit p_limit - forgotten
      ));
      get diagnostics deleted = row_count;
      forgotten := forgotten + deleted;
      exit when forgotten >= p_limit;  -- this session may have more events
    end if;
    reached := one.expires_at;
    reached_session := one.id;
  end loop;
  if looked_at < 1000 and forgotten < p_limit then
    reached := null;
    reached_session := null;
  elsif reached is null then
    reached := p_after;
    reached_session := p_after_session;
  end if;
  perform set_config('mobvibe.forgetting', 'off', true);
end
$$;

revoke all on function private.lock_retention, private.forget_events from public;
grant execute on function private.lock_retention to service_role;
-- For the owner only, despite the earlier grant on all functions.
revoke all on function private.recount_jobs() from service_role;
revoke all on function public.expire_sessions, public.forget_jobs, public.forget_workers
from public, anon, authenticated;
grant execute on function public.expire_sessions, public.forget_jobs, public.forget_workers
to service_role;
