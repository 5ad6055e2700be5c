-- The line of each project: which of its jobs is the head, what follows from a job's change of status, and how many
-- jobs there are of each status.
--
-- At most one job of a project is its head: the one that is next or running. Only heads can be claimed, so jobs of one
-- project run one at a time and in order (priority, then first in first out) however many workers there are, and a
-- claim never looks at what waits behind. A head that backs off stays head unless a higher priority overtakes it: its
-- successors build on its result. What waits in a deleted project has no head until the project is restored. All of it
-- hangs on triggers, so that plain INSERT, UPDATE and DELETE keep it true; they work on whole statements, so that a batch
-- costs little more than one job.
--
-- Everything that takes several locks takes them in one order: project (by id), then job (by id), then session. A claim
-- and a count wait for nobody.
--
-- A plan that was made while a table was small, or while nothing waited, is kept for long after that. So what works on
-- batches is written so that there is only one plan: look-ups by array with scans off, lateral joins with a limit, which
-- are always look-ups, and full joins, which are never nested loops.

create table private.job_counts (
  slot bigint generated always as identity primary key,
  pending bigint not null default 0,
  processing bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  cancelled bigint not null default 0
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
comment on table private.job_counts is
  'Jobs by status: the sum over all rows. A writer takes a row that nobody holds, or adds one.';
alter table private.job_counts enable row level security;
grant select on private.job_counts to service_role;
create policy service_all on private.job_counts for all to service_role using (true) with check (true);

-- A count that waited for another writer's would stand still behind any long transaction, and deadlock with its jobs.
create function private.count_jobs(
  p_pending bigint, p_processing bigint, p_completed bigint, p_failed bigint, p_cancelled bigint
) returns void language plpgsql security definer set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
begin
  if p_pending = 0 and p_processing = 0 and p_completed = 0 and p_failed = 0 and p_cancelled = 0 then
    return;
  end if;
  -- With an older snapshot a row that another writer moved since is an error: there a new one is added.
  if current_setting('transaction_isolation') = 'read committed' then
    update private.job_counts c
    set pending = c.pending + p_pending,
        processing = c.processing + p_processing,
        completed = c.completed + p_completed,
        failed = c.failed + p_failed,
        cancelled = c.cancelled + p_cancelled
    where c.slot = (
      select f.slot from private.job_counts f order by f.slot limit 1 for update skip locked
    );
    if found then
      return;
    end if;
  end if;
  insert into private.job_counts (pending, processing, completed, failed, cancelled)
  values (p_pending, p_processing, p_completed, p_failed, p_cancelled);
end
$$;

-- Counts anew and in one row: after data came in with triggers off, or when there are too many rows.
create function private.recount_jobs() returns void
language plpgsql security definer set search_path = '' as $$
begin
  lock table public.coding_jobs in share row exclusive mode;
  delete from private.job_counts c where c.slot > 0;
  insert into private.job_counts (pending, processing, completed, failed, cancelled)
  select
    count(*) filter (where j.status = 'pending'),
    count(*) filter (where j.status = 'processing'),
    count(*) filter (where j.status = 'completed'),
    count(*) filter (where j.status = 'failed'),
    count(*) filter (where j.status = 'cancelled')
  from public.coding_jobs j;
end
$$;

-- Each project gets the head that it should have: the first that is due or was tried before; where only scheduled ones
-- are left, the earliest. What is claimed in this moment stays the head. In a deleted project nothing but what runs is.
create function private.settle_heads(p_projects uuid[]) returns void
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  present uuid[];
  deleted uuid[];
  rising uuid[];
  overtaken uuid[];
  overtaking uuid[];
  risen integer;
begin
  select
    array_agg(locked.id) filter (where locked.status <> 'deleted'),
    array_agg(locked.id) filter (where locked.status = 'deleted')
  into present, deleted from (
    select p.id, p.status from public.projects p
    where p.id = any (p_projects) order by p.id for no key update
  ) locked;
  if deleted is not null then
    update public.coding_jobs j set is_head = false
    where j.project_id = any (deleted) and j.is_head and j.status = 'pending';
  end if;
  select
    array_agg(n.id) filter (where h.id is null),
    array_agg(h.id) filter (where h.id is not null),
    array_agg(n.id) filter (where h.id is not null)
  into rising, overtaken, overtaking
  from unnest(present) as line (project_id)
  left join lateral (
    select j.id, j.status from public.coding_jobs j
    where j.project_id = line.project_id and j.is_head limit 1
  ) h on true
  cross join lateral (
    (
      select j.id from public.coding_jobs j
      where j.project_id = line.project_id and j.status = 'pending'
        and (j.run_at is null or j.attempt > 0)
      order by j.priority desc, j.created_at, j.id limit 1
    )
    union all
    (
      select j.id from public.coding_jobs j
      where j.project_id = line.project_id and j.status = 'pending'
        and j.run_at is not null and j.attempt = 0
      order by j.run_at, j.priority desc, j.created_at, j.id limit 1
    )
    limit 1
  ) n
  where h.status is distinct from 'processing' and n.id is distinct from h.id;
  if overtaken is not null then
    with demoted as (
      update public.coding_jobs j set is_head = false
      where j.id = any (overtaken) and j.is_head and j.status = 'pending'
      returning j.id
    )
    select rising || array_agg(o.next_id) into rising
    from unnest(overtaken, overtaking) as o (head_id, next_id)
    join demoted d on d.id = o.head_id;
  end if;
  if cardinality(rising) > 0 then
    update public.coding_jobs j set is_head = true, updated_at = now()
    where j.id = any (rising) and j.status = 'pending' and not j.is_head;
    get diagnostics risen = row_count;
    if risen < cardinality(rising) then  -- one was deleted, or moved by hand, while it was waited for
      perform private.settle_heads(present);
    end if;
  end if;
end
$$;

create function private.enter_line() returns trigger language plpgsql
set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
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
-- Who names both has looked already, under the project's lock: enqueue_job and enqueue_jobs.
create trigger enter_line before insert on public.coding_jobs
  for each row when (new.project_id is null or new.user_id is null)
  execute function private.enter_line();

create function private.keep_job_whole() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
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
-- The queue's own statements, which change thousands of rows a second, leave a row whole by themselves.
create trigger keep_whole before update on public.coding_jobs
  for each row when (
    current_setting('mobvibe.moves', true) is distinct from pg_trigger_depth()::text
    and not (new.updated_at > old.updated_at and new.status = old.status)
  )
  execute function private.keep_job_whole();

-- A new prompt revives its session: expiry only ever freed a slot.
create function private.revive_sessions(p_sessions uuid[]) returns void
language sql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
  update public.coding_sessions s
  set status = 'active', expires_at = greatest(s.expires_at, now() + interval '24 hours')
  where s.id = any (array(
    select asleep.id from public.coding_sessions asleep
    where asleep.id = any (p_sessions)
      and (asleep.status <> 'active' or asleep.expires_at < now() + interval '23 hours')
    order by asleep.id for no key update
  ))
$$;

-- What does all of this itself says so for as long as it writes (mobvibe.writes): enqueue_job, enqueue_jobs. It says at
-- which depth of triggers: what somebody's own trigger writes meanwhile is seen to as always.
create function private.jobs_entered() returns trigger language plpgsql set search_path = '' as $$
declare
  entered record;
begin
  select
    count(*) filter (where n.status = 'pending') as pending,
    count(*) filter (where n.status = 'processing') as processing,
    count(*) filter (where n.status = 'completed') as completed,
    count(*) filter (where n.status = 'failed') as failed,
    count(*) filter (where n.status = 'cancelled') as cancelled,
    array_agg(distinct n.project_id) filter (where n.status = 'pending' and not n.is_head) as behind,
    array_agg(distinct n.session_id) filter (where n.status = 'pending') as revived,
    array_agg(
      '{"id": "' || n.id || '", "priority": ' || n.priority || '}' order by n.priority desc, n.created_at, n.id
    ) filter (where n.status = 'pending') as items
  into entered from new_rows n;
  if entered.behind is not null then
    perform private.settle_heads(entered.behind);
  end if;
  if entered.revived is not null then
    perform private.revive_sessions(entered.revived);
  end if;
  perform private.count_jobs(
    entered.pending, entered.processing, entered.completed, entered.failed, entered.cancelled
  );
  perform private.notify_in_pieces('new_job', entered.items, '[', ']');
  return null;
end
$$;
create trigger entered after insert on public.coding_jobs
  referencing new table as new_rows
  for each statement when (current_setting('mobvibe.writes', true) is distinct from pg_trigger_depth()::text)
  execute function private.jobs_entered();

create function private.jobs_moved() returns trigger language plpgsql set search_path = '' as $$
declare
  moved record;
begin
  select
    sum((n.status = 'pending')::integer - (o.status = 'pending')::integer) as pending,
    sum((n.status = 'processing')::integer - (o.status = 'processing')::integer) as processing,
    sum((n.status = 'completed')::integer - (o.status = 'completed')::integer) as completed,
    sum((n.status = 'failed')::integer - (o.status = 'failed')::integer) as failed,
    sum((n.status = 'cancelled')::integer - (o.status = 'cancelled')::integer) as cancelled,
    array_agg(distinct n.project_id) filter (
      where (n.status <> o.status and n.status <> 'processing')
        or (
          n.status = 'pending'
          and (n.priority <> o.priority or (not n.is_head and n.run_at is distinct from o.run_at))
        )
    ) as unsettled,
    array_agg(n.session_id) filter (where n.status = 'failed' and o.status <> 'failed') as dead,
    array_agg(n.session_id)
      filter (where n.status = 'pending' and o.status in ('failed', 'cancelled')) as revived
  into moved from new_rows n full join old_rows o on o.id = n.id;
  if moved.pending is null then  -- the statement found no row
    return null;
  end if;
  if moved.unsettled is not null then
    perform private.settle_heads(moved.unsettled);
  end if;
  if moved.dead is not null then
    update public.coding_sessions s set status = 'failed'
    where s.id = any (moved.dead) and s.status in ('pending', 'active') and (
      select j.id from public.coding_jobs j
      where j.session_id = s.id and j.status in ('pending', 'processing') limit 1
    ) is null;
  end if;
  if moved.revived is not null then
    perform private.revive_sessions(moved.revived);
  end if;
  perform private.count_jobs(
    moved.pending, moved.processing, moved.completed, moved.failed, moved.cancelled
  );
  return null;
end
$$;
-- The queue's own batches (complete_held, claim) count, settle and tell by themselves: they know what they moved.
create trigger moved after update on public.coding_jobs
  referencing old table as old_rows new table as new_rows
  for each statement when (current_setting('mobvibe.moves', true) is distinct from pg_trigger_depth()::text)
  execute function private.jobs_moved();

-- As its owner: people may delete a project, and before Postgres 18 what that cascades to ran as them.
create function private.jobs_left() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  gone record;
begin
  select
    count(*) filter (where o.status = 'pending') as pending,
    count(*) filter (where o.status = 'processing') as processing,
    count(*) filter (where o.status = 'completed') as completed,
    count(*) filter (where o.status = 'failed') as failed,
    count(*) filter (where o.status = 'cancelled') as cancelled,
    array_agg(o.project_id) filter (where o.is_head) as headless
  into gone from old_rows o;
  if gone.headless is not null then
    perform private.settle_heads(gone.headless);
  end if;
  perform private.count_jobs(
    -gone.pending, -gone.processing, -gone.completed, -gone.failed, -gone.cancelled
  );
  return null;
end
$$;
create trigger gone after delete on public.coding_jobs
  referencing old table as old_rows
  for each statement execute function private.jobs_left();

create function private.jobs_emptied() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from private.job_counts c where c.slot > 0;
  return null;
end
$$;
create trigger emptied after truncate on public.coding_jobs
  for each statement execute function private.jobs_emptied();

-- As its owner: people may delete a project and restore it, and change no job.
create function private.project_rests() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.settle_heads(array[new.id]);
  return null;
end
$$;
create trigger rests after update of status on public.projects
  for each row when ((old.status = 'deleted') <> (new.status = 'deleted'))
  execute function private.project_rests();

-- Jobs whose time has come step into their line. Takes what is free; what is locked is being settled already.
create function private.release_due(p_limit integer) returns void
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  due uuid[];
  free uuid[];
begin
  select array_agg(d.id), array_agg(d.project_id) into due, free from (
    select j.id, j.project_id from public.coding_jobs j
    where starts_with(j.status, 'pending') and j.run_at <= statement_timestamp()
    order by j.run_at limit p_limit
  ) d;
  select array_agg(locked.id) into free from (
    select p.id from public.projects p where p.id = any (free)
    order by p.id for no key update skip locked
  ) locked;
  update public.coding_jobs j set run_at = null
  where j.id = any (due) and j.project_id = any (free)
    and j.status = 'pending' and j.run_at <= clock_timestamp();
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
revoke all on function private.recount_jobs() from service_role;
