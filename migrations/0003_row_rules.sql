-- What triggers fill in: a row's owner, its slug, its number in the session and the time of its last change.
--
-- Owners are copied from the parent row (project to session to job to event), so that policies need no join and clients
-- may omit them. An event's seq comes from its session's counter: writers of one session take turns on that row, which
-- is why a reader that remembers the last seq can never miss an event that commits late.
-- A person's open sessions are counted here, under the lock of their profile, so that no race and no client gets around
-- the limit. A sign-up must never fail because its email is missing or already taken.

create function private.shown_name(p_said jsonb, p_email text) returns text
language sql immutable set search_path = '' as $$
  select left(coalesce(
    nullif(btrim(p_said ->> 'display_name'), ''),
    nullif(btrim(p_said ->> 'full_name'), ''),
    nullif(split_part(coalesce(p_email, ''), '@', 1), ''),
    'someone'
  ), 100)
$$;

create function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  shown text := private.shown_name(new.raw_user_meta_data, new.email);
begin
  insert into public.profiles (id, email, display_name)
  values (new.id, nullif(new.email, ''), shown)
  on conflict do nothing;
  -- If the email is taken, the profile is created without it: a person needs a profile, but no email.
  insert into public.profiles (id, display_name) values (new.id, shown)
  on conflict (id) do nothing;
  return new;
end
$$;
revoke all on function public.handle_new_user() from public, anon, authenticated;

create trigger on_auth_user_created after insert on auth.users
  for each row execute function public.handle_new_user();

create function private.slug_from(p_name text) returns text language sql immutable set search_path = '' as $$
  select coalesce(
    nullif(btrim(left(btrim(regexp_replace(lower(p_name), '[^a-z0-9]+', '-', 'g'), '-'), 40), '-'), ''),
    'app'
  )
$$;

create function private.fill_project() returns trigger language plpgsql set search_path = '' as $$
declare
  base text := private.slug_from(new.name);
  number integer := 1;
begin
  if new.slug is not null then
    return new;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('mobvibe slug ' || new.user_id, 0));
  new.slug := base;
  while exists (
    select from public.projects p
    where p.user_id = new.user_id and p.slug = new.slug and p.status <> 'deleted'
  ) loop
    number := number + 1;
    new.slug := base || '-' || number;
  end loop;
  return new;
end
$$;
create trigger fill before insert on public.projects
  for each row execute function private.fill_project();

-- Sessions, revisions, blobs, files and turns take their user from their project; preview rows take project and user
-- from their session.
create function private.fill_from_project() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.user_id is null then
    select p.user_id into new.user_id from public.projects p where p.id = new.project_id;
  end if;
  return new;
end
$$;
create trigger fill before insert on public.coding_sessions
  for each row execute function private.fill_from_project();
create trigger fill before insert on public.project_revisions
  for each row execute function private.fill_from_project();
create trigger fill before insert on public.project_blobs
  for each row execute function private.fill_from_project();
create trigger fill before insert on public.project_files
  for each row execute function private.fill_from_project();
create trigger fill before insert on public.job_turns
  for each row execute function private.fill_from_project();

create function private.fill_from_session() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.project_id is null or new.user_id is null then
    select s.project_id, s.user_id into new.project_id, new.user_id
    from public.coding_sessions s where s.id = new.session_id;
  end if;
  return new;
end
$$;
create trigger fill before insert on public.preview_containers
  for each row execute function private.fill_from_session();

-- The foreign key to the job keeps tenants apart. It is the only one, as every index of coding_jobs is updated with each
-- job; these triggers check that the job belongs to the same project, and that of an event to the same session.
create function private.require_job_of_project() returns trigger language plpgsql set search_path = '' as $$
begin
  if exists (
    select from public.coding_jobs j where j.id = new.job_id and j.project_id <> new.project_id
  ) then
    raise exception 'job % is of another project', new.job_id using errcode = 'foreign_key_violation';
  end if;
  return null;
end
$$;
create trigger same_project after insert or update of job_id, project_id on public.project_revisions
  for each row when (new.job_id is not null) execute function private.require_job_of_project();
create trigger same_project after insert or update of job_id, project_id on public.job_turns
  for each row execute function private.require_job_of_project();

create function private.number_event() returns trigger language plpgsql
set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
begin
  update public.coding_sessions s set last_seq = s.last_seq + 1
  where s.id = new.session_id
  returning s.last_seq, s.user_id into new.seq, new.user_id;
  if not found then
    raise exception 'there is no session %', new.session_id using errcode = 'MV004';
  end if;
  return new;
end
$$;
-- append_events counts a whole batch at once and gives each row its seq.
create trigger number before insert on public.session_events
  for each row when (new.seq is null) execute function private.number_event();

create function private.events_inserted() returns trigger language plpgsql
set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  inserted record;
begin
  select
    array_agg(distinct n.session_id || ':' || s.last_seq) as items,
    bool_or(n.newest > s.last_seq or n.user_id <> s.user_id) as is_misnumbered,
    min(n.job_id::text) filter (where n.job_id is not null and j.session_id <> n.session_id) as strange_job
  into inserted
  from (
    select e.session_id, e.user_id, e.job_id, max(e.seq) as newest from new_rows e group by 1, 2, 3
  ) n
  cross join lateral (
    select o.user_id, o.last_seq from public.coding_sessions o where o.id = n.session_id limit 1
  ) s
  left join lateral (
    select o.session_id from public.coding_jobs o where o.id = n.job_id limit 1
  ) j on true;
  if inserted.is_misnumbered then
    raise exception 'seq is given by the session''s counter: leave it out'
      using errcode = 'check_violation';
  end if;
  if inserted.strange_job is not null then
    raise exception 'job % is of another session', inserted.strange_job using errcode = 'foreign_key_violation';
  end if;
  perform private.notify_in_pieces('session_events', inserted.items, '', '');
  return null;
end
$$;
create trigger events_inserted after insert on public.session_events
  referencing new table as new_rows
  for each statement execute function private.events_inserted();

-- Events are deleted with their session, and lose their job_id when the job is deleted; foreign keys do both as the
-- table's owner. Only the owner may delete old events as well (private.forget_events). All other changes are refused.
create function private.refuse_change() returns trigger language plpgsql set search_path = '' as $$
declare
  is_owner boolean := pg_catalog.pg_has_role(
    current_user, (select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid), 'usage'
  );
  kept public.session_events;
begin
  if is_owner and tg_op = 'DELETE' then
    if current_setting('mobvibe.forgetting', true) = 'on'
      or not exists (select from public.coding_sessions s where s.id = old.session_id)
    then
      return old;
    end if;
  elsif is_owner and tg_op = 'UPDATE' and new.job_id is null then
    kept := new;
    kept.job_id := old.job_id;
    if kept is not distinct from old
      and not exists (select from public.coding_jobs j where j.id = old.job_id)
    then
      return new;
    end if;
  end if;
  raise exception 'events are history: % is refused', lower(tg_op) using errcode = 'MV005';
end
$$;
create trigger immutable before update or delete on public.session_events
  for each row execute function private.refuse_change();
create trigger immutable_whole before truncate on public.session_events
  for each statement execute function private.refuse_change();

-- A session is open until it ends or expires. The profile's row is updated, not just locked, so that a transaction with
-- an old snapshot (repeatable read) fails to serialize; otherwise two could take the last free slot.
create function private.limit_sessions() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  allowed integer;
begin
  update public.profiles p set sessions_limit = p.sessions_limit
  where p.id = new.user_id and p.tier <> 'local' and p.sessions_limit is not null
  returning p.sessions_limit into allowed;
  if not found then
    return null;
  end if;
  if (
    select count(*) from public.coding_sessions s
    where s.user_id = new.user_id
      and s.status in ('pending', 'active', 'paused')
      and s.expires_at > statement_timestamp()
  ) > allowed then
    raise exception 'the limit of % open sessions is reached', allowed
      using errcode = 'MV007', hint = 'Complete a session, or wait until one expires.';
  end if;
  return null;
end
$$;
create trigger limit_new after insert on public.coding_sessions
  for each row when (
    new.status in ('pending', 'active', 'paused') and new.expires_at > statement_timestamp()
  )
  execute function private.limit_sessions();
create trigger limit_reopened after update of status, expires_at on public.coding_sessions
  for each row when (
    new.status in ('pending', 'active', 'paused')
    and new.expires_at > statement_timestamp()
    and not (
      old.status in ('pending', 'active', 'paused') and old.expires_at > statement_timestamp()
    )
  )
  execute function private.limit_sessions();

create trigger touch before update on public.profiles
  for each row when (old.* is distinct from new.*)
  execute function private.touch_updated_at();
create trigger touch before update on public.projects
  for each row execute function private.touch_updated_at();
create trigger touch before update on public.coding_sessions
  for each row execute function private.touch_updated_at();
create trigger touch before update on public.preview_containers
  for each row execute function private.touch_updated_at();

revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
grant execute on function private.slug_from(text) to authenticated;
