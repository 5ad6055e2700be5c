-- The line of each project: which of its jobs is the head, and what follows from a job's change of status.
--
-- At most one job of a project is its head: the one that is next or running. Only heads can be claimed, so jobs of one
-- project run one at a time and in order (priority, then first in first out) however many workers there are, and a
-- claim never looks at what waits behind. A head that backs off stays head unless a higher priority overtakes it: its
-- successors build on its result. All of it hangs on triggers, so that plain INSERT, UPDATE and DELETE keep it true.
--
-- Everything that takes several locks takes them in one order: project, then job, then session.

create function private.settle_head(p_project uuid) returns void
language plpgsql set search_path = '' as $$
declare
  head record;
  next_id uuid;
begin
  perform from public.projects p where p.id = p_project for no key update;
  if not found then
    return;
  end if;
  select j.id, j.status into head from public.coding_jobs j
  where j.project_id = p_project and j.is_head;
  if head.status = 'processing' then
    return;
  end if;
  select j.id into next_id from public.coding_jobs j
  where j.project_id = p_project and j.status = 'pending' and (j.run_at is null or j.attempt > 0)
  order by j.priority desc, j.created_at, j.id limit 1;
  if next_id is null then  -- nothing but scheduled ones: the earliest
    select j.id into next_id from public.coding_jobs j
    where j.project_id = p_project and j.status = 'pending'
    order by j.run_at, j.priority desc, j.created_at, j.id limit 1;
  end if;
  if next_id is not distinct from head.id then
    return;
  end if;
  if head.id is not null then
    update public.coding_jobs j set is_head = false
    where j.id = head.id and j.is_head and j.status = 'pending';
    if not found then  -- claimed in this moment: it stays the head
      return;
    end if;
  end if;
  update public.coding_jobs j set is_head = true where j.id = next_id and j.status = 'pending';
end
$$;

create function private.enter_line() returns trigger language plpgsql set search_path = '' as $$
begin
  select s.project_id, s.user_id into new.project_id, new.user_id
  from public.coding_sessions s where s.id = new.session_id;
  if not found then
    raise exception 'there is no session %', new.session_id using errcode = 'MV004';
  end if;
  if new.status <> 'pending' then
    return new;
  end if;
  perform from public.projects p
  where p.id = new.project_id and p.status <> 'deleted' for no key update;
  if not found then
    raise exception 'the project of session % is deleted', new.session_id using errcode = 'MV004';
  end if;
  -- The default was taken before the wait for the lock; a time that was typed is older and stays.
  if new.created_at >= statement_timestamp() then
    new.created_at := clock_timestamp();
  end if;
  new.is_head := not exists (
    select from public.coding_jobs j where j.project_id = new.project_id and j.is_head
  );
  return new;
end
$$;
create trigger enter_line before insert on public.coding_jobs
  for each row execute function private.enter_line();

create function private.keep_job_whole() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.status = old.status then
    return new;
  end if;
  if old.status = 'completed' then
    raise exception 'job % is completed, and stays so', old.id using errcode = 'MV006';
  end if;
  if new.status = 'pending' then
    new.worker := null;
    new.completed_at := null;
    new.cancel_requested := false;
    new.lease_expires_at := null;
    new.is_head := old.is_head;
  elsif new.status <> 'processing' then
    new.is_head := false;
    new.run_at := null;
    new.lease_expires_at := null;
    new.completed_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger keep_whole before update on public.coding_jobs
  for each row execute function private.keep_job_whole();

-- A new prompt revives its session: expiry only ever freed a slot.
create function private.revive_sessions(p_sessions uuid[]) returns void
language sql set search_path = '' as $$
  with locked as (
    select s.id from public.coding_sessions s
    where s.id = any (p_sessions)
      and (s.status <> 'active' or s.expires_at < now() + interval '23 hours')
    order by s.id for no key update
  )
  update public.coding_sessions s
  set status = 'active', expires_at = greatest(s.expires_at, now() + interval '24 hours')
  from locked where s.id = locked.id
$$;

create function private.settle_heads(p_projects uuid[]) returns void
language plpgsql set search_path = '' as $$
declare
  one uuid;
begin
  for one in select distinct p from unnest(p_projects) p order by p loop
    perform private.settle_head(one);
  end loop;
end
$$;

create function private.jobs_entered() returns trigger language plpgsql set search_path = '' as $$
declare
  overtaking uuid[];
  revived uuid[];
begin
  select array_agg(n.project_id) filter (where not n.is_head), array_agg(distinct n.session_id)
  into overtaking, revived
  from new_rows n where n.status = 'pending';
  if overtaking is not null then
    perform private.settle_heads(overtaking);
  end if;
  if revived is not null then
    perform private.revive_sessions(revived);
  end if;
  return null;
end
$$;
create trigger entered after insert on public.coding_jobs
  referencing new table as new_rows
  for each statement execute function private.jobs_entered();

create function private.jobs_moved() returns trigger language plpgsql set search_path = '' as $$
declare
  moved uuid[];
  dead uuid[];
  revived uuid[];
begin
  select
    array_agg(n.project_id) filter (
      where (n.status <> o.status and n.status <> 'processing')
        or (
          n.status = 'pending'
          and (n.priority <> o.priority or (not n.is_head and n.run_at is distinct from o.run_at))
        )
    ),
    array_agg(n.session_id) filter (where n.status = 'failed' and o.status <> 'failed'),
    array_agg(n.session_id)
      filter (where n.status = 'pending' and o.status in ('failed', 'cancelled'))
  into moved, dead, revived
  from new_rows n join old_rows o on o.id = n.id;
  if moved is not null then
    perform private.settle_heads(moved);
  end if;
  if dead is not null then
    update public.coding_sessions s set status = 'failed'
    where s.id = any (dead) and s.status in ('pending', 'active') and not exists (
      select from public.coding_jobs j
      where j.session_id = s.id and j.status in ('pending', 'processing')
    );
  end if;
  if revived is not null then
    perform private.revive_sessions(revived);
  end if;
  return null;
end
$$;
create trigger moved after update on public.coding_jobs
  referencing old table as old_rows new table as new_rows
  for each statement execute function private.jobs_moved();

-- As its owner: people may delete a project, and before Postgres 18 what that cascades to ran as them.
create function private.jobs_left() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  headless uuid[];
begin
  select array_agg(o.project_id) filter (where o.is_head) into headless from old_rows o;
  if headless is not null then
    perform private.settle_heads(headless);
  end if;
  return null;
end
$$;
create trigger gone after delete on public.coding_jobs
  referencing old table as old_rows
  for each statement execute function private.jobs_left();

-- Jobs whose time has come step into their line. Takes what is free; what is locked is being settled already.
create function private.release_due(p_limit integer) returns void
language plpgsql set search_path = '' as $$
declare
  one record;
begin
  for one in
    select j.id, j.project_id from public.coding_jobs j
    where j.status = 'pending' and j.run_at <= statement_timestamp()
    order by j.run_at limit p_limit
  loop
    perform from public.projects p where p.id = one.project_id for no key update skip locked;
    if found then
      update public.coding_jobs j set run_at = null
      where j.id = one.id and j.status = 'pending' and j.run_at <= clock_timestamp();
    end if;
  end loop;
end
$$;

-- 5 s, 10 s, 20 s ... up to five minutes, a quarter more or less, so that a crowd does not come back at once.
create function private.backoff(p_failures integer) returns interval
language sql volatile set search_path = '' as $$
  select least(5 * power(2, least(greatest(p_failures, 1), 20) - 1), 300)
    * (0.75 + random() * 0.5) * interval '1 second'
$$;

revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
