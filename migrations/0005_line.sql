-- The line of each project: which of its jobs may run next, what follows when a job changes its status, and how many jobs
-- there are of each status.
--
-- At most one job of a project is its head: the one that is next or running. Only heads can be claimed, so the jobs of a
-- project run one at a time and in order (priority, then first in, first out) however many workers there are, and a
-- claim never looks at the jobs behind the head. A head that backs off stays head unless a job of higher priority
-- overtakes it, because its successors build on its result. A deleted project has no waiting head until it is restored.
--
-- Triggers keep all of this true, so it holds for a typed INSERT, UPDATE or DELETE as well as for the functions of
-- 0006: the BEFORE triggers complete a row, and one AFTER trigger per kind of statement settles the lines, updates the
-- sessions, counts and notifies.
--
-- Locks are taken in one order: project (by id), then job (by id), then session. A claim and a count never wait.

create table private.job_counts (
  slot bigint generated always as identity primary key,
  status text not null,
  jobs bigint not null
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
comment on table private.job_counts is
  'Jobs by status: the sum over all rows of a status. A writer updates a row that is not locked, or adds one.';
alter table private.job_counts enable row level security;
grant select on private.job_counts to service_role;
create policy service_all on private.job_counts for all to service_role using (true) with check (true);

-- A count that waited for another writer would stand still behind any long transaction, and deadlock with its jobs.
create function private.count_jobs(p_new text[], p_old text[]) returns void
language plpgsql security definer set search_path = '' as $$
declare
  change record;
begin
  for change in
    select m.status, sum(m.jobs) as jobs
    from (
      select n.status, 1 as jobs from unnest(p_new) as n (status)
      union all select o.status, -1 from unnest(p_old) as o (status)
    ) m
    group by m.status having sum(m.jobs) <> 0
  loop
    -- With an older snapshot, updating a row that another writer changed since is an error: there, add a row.
    update private.job_counts c set jobs = c.jobs + change.jobs
    where current_setting('transaction_isolation') = 'read committed' and c.slot = (
      select f.slot from private.job_counts f
      where f.status = change.status order by f.slot limit 1 for update skip locked
    );
    if not found then
      insert into private.job_counts (status, jobs) values (change.status, change.jobs);
    end if;
  end loop;
end
$$;

-- Counts again from scratch: after rows came in with triggers off, or when there are too many rows of counts.
create function private.recount_jobs() returns void
language plpgsql security definer set search_path = '' as $$
begin
  lock table public.coding_jobs in share row exclusive mode;
  delete from private.job_counts c where c.slot > 0;
  insert into private.job_counts (status, jobs)
  select j.status, count(*) from public.coding_jobs j group by j.status;
end
$$;

-- The job that should be head of a project: the first that is due or was tried before; if only scheduled ones are
-- left, the earliest.
create function private.first_in_line(p_project uuid) returns uuid
language plpgsql stable set search_path = '' as $$
declare
  first_one uuid;
begin
  select j.id into first_one from public.coding_jobs j
  where j.project_id = p_project and j.status = 'pending' and (j.run_at is null or j.attempt > 0)
  order by j.priority desc, j.created_at, j.id limit 1;
  if not found then
    select j.id into first_one from public.coding_jobs j
    where j.project_id = p_project and j.status = 'pending' and j.run_at is not null and j.attempt = 0
    order by j.run_at, j.priority desc, j.created_at, j.id limit 1;
  end if;
  return first_one;
end
$$;

-- Gives each project the head that it should have. A running job stays head, also in a deleted project.
create function private.settle_heads(p_projects uuid[]) returns void
language plpgsql set search_path = '' as $$
declare
  line record;
  head record;
  next_id uuid;
begin
  perform from public.projects p where p.id = any (p_projects) order by p.id for no key update;
  for line in
    select p.id, p.status = 'deleted' as is_deleted from public.projects p where p.id = any (p_projects)
  loop
    loop
      select j.id, j.status into head from public.coding_jobs j where j.project_id = line.id and j.is_head;
      exit when head.status = 'processing';
      next_id := case when not line.is_deleted then private.first_in_line(line.id) end;
      exit when next_id is not distinct from head.id;
      if head.id is not null then
        update public.coding_jobs j set is_head = false where j.id = head.id and j.status = 'pending';
        continue when not found;  -- claimed or deleted in this moment: look again
      end if;
      update public.coding_jobs j set is_head = true where j.id = next_id and j.status = 'pending';
      exit when found or next_id is null;
    end loop;
  end loop;
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
  -- The default was taken before the wait for the lock. A time that was typed is older, and stays.
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

create function private.complete_row() returns trigger language plpgsql set search_path = '' as $$
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
create trigger complete_row before update on public.coding_jobs
  for each row execute function private.complete_row();

-- A new prompt revives its session: expiry only frees a slot.
create function private.revive_sessions(p_sessions uuid[]) returns void
language plpgsql set search_path = '' as $$
begin
  update public.coding_sessions s
  set status = 'active', expires_at = greatest(s.expires_at, now() + interval '24 hours')
  where s.id = any (array(
    select asleep.id from public.coding_sessions asleep
    where asleep.id = any (p_sessions)
      and (asleep.status <> 'active' or asleep.expires_at < now() + interval '23 hours')
    order by asleep.id for no key update
  ));
end
$$;

-- One notification per statement, split to stay below Postgres's limit of 8,000 bytes, and never with content: it is a
-- hint to look into the table, so losing one loses no data. The triggers of events (0003) notify through it as well.
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

create function private.jobs_inserted() returns trigger language plpgsql set search_path = '' as $$
declare
  inserted record;
begin
  select
    array_agg(n.status) as statuses,
    array_agg(distinct n.project_id) filter (where n.status = 'pending' and not n.is_head) as behind,
    array_agg(distinct n.session_id) filter (where n.status = 'pending') as revived,
    array_agg('{"id": "' || n.id || '", "priority": ' || n.priority || '}')
      filter (where n.status = 'pending') as items
  into inserted from new_rows n;
  if inserted.behind is not null then
    perform private.settle_heads(inserted.behind);
  end if;
  if inserted.revived is not null then
    perform private.revive_sessions(inserted.revived);
  end if;
  perform private.count_jobs(inserted.statuses, null);
  perform private.notify_in_pieces('new_job', inserted.items, '[', ']');
  return null;
end
$$;
create trigger jobs_inserted after insert on public.coding_jobs
  referencing new table as new_rows
  for each statement execute function private.jobs_inserted();

create function private.jobs_updated() returns trigger language plpgsql set search_path = '' as $$
declare
  updated record;
begin
  -- A full join is never planned as a nested loop, which a statement over many jobs could not afford.
  select
    array_agg(n.status) filter (where n.status <> o.status) as new_statuses,
    array_agg(o.status) filter (where n.status <> o.status) as old_statuses,
    array_agg(distinct n.project_id) filter (
      where (n.status <> o.status and n.status <> 'processing')
        or (
          n.status = 'pending'
          and (n.priority <> o.priority or (not n.is_head and n.run_at is distinct from o.run_at))
        )
    ) as unsettled,
    array_agg(n.session_id) filter (where n.status = 'failed' and o.status <> 'failed') as dead,
    array_agg(n.session_id)
      filter (where n.status = 'pending' and o.status in ('failed', 'cancelled')) as revived,
    array_agg(
      '{"id": "' || n.id || '", "old": "' || o.status || '", "new": "' || n.status
        || case when n.status <> o.status then '"}' else '", "cancel_requested": true}' end
    ) filter (where n.status <> o.status or (n.cancel_requested and not o.cancel_requested)) as changed,
    array_agg('{"id": "' || n.id || '", "priority": ' || n.priority || '}') filter (
      where n.status = 'pending' and n.is_head and n.run_at is null
        and not (o.status = 'pending' and o.is_head and o.run_at is null)
    ) as ready
  into updated from new_rows n full join old_rows o on o.id = n.id;
  if updated.unsettled is not null then
    perform private.settle_heads(updated.unsettled);
  end if;
  if updated.dead is not null then
    update public.coding_sessions s set status = 'failed'
    where s.id = any (updated.dead) and s.status in ('pending', 'active') and (
      select j.id from public.coding_jobs j
      where j.session_id = s.id and j.status in ('pending', 'processing') limit 1
    ) is null;
  end if;
  if updated.revived is not null then
    perform private.revive_sessions(updated.revived);
  end if;
  if updated.new_statuses is not null then
    perform private.count_jobs(updated.new_statuses, updated.old_statuses);
  end if;
  perform private.notify_in_pieces('job_status_changed', updated.changed, '[', ']');
  perform private.notify_in_pieces('new_job', updated.ready, '[', ']');
  return null;
end
$$;
create trigger jobs_updated after update on public.coding_jobs
  referencing old table as old_rows new table as new_rows
  for each statement execute function private.jobs_updated();

-- As its owner: people may delete a project, and before Postgres 18 what that cascades to ran as them.
create function private.jobs_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  deleted record;
begin
  select array_agg(o.status) as statuses, array_agg(o.project_id) filter (where o.is_head) as headless
  into deleted from old_rows o;
  if deleted.headless is not null then
    perform private.settle_heads(deleted.headless);
  end if;
  perform private.count_jobs(null, deleted.statuses);
  return null;
end
$$;
create trigger jobs_deleted after delete on public.coding_jobs
  referencing old table as old_rows
  for each statement execute function private.jobs_deleted();

create function private.jobs_truncated() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from private.job_counts c where c.slot > 0;
  return null;
end
$$;
create trigger jobs_truncated after truncate on public.coding_jobs
  for each statement execute function private.jobs_truncated();

-- As its owner: people may delete and restore a project, and change no job.
create function private.project_deleted_or_restored() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.settle_heads(array[new.id]);
  return null;
end
$$;
create trigger deleted_or_restored after update of status on public.projects
  for each row when ((old.status = 'deleted') <> (new.status = 'deleted'))
  execute function private.project_deleted_or_restored();

-- Jobs whose time has come step into their line. Skips projects that are locked: the next call settles those.
create function private.release_due(p_limit integer) returns void
language plpgsql set search_path = '' as $$
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

-- A plan that was made while a table was small, or while nothing waited, is kept long after that. So the functions that
-- look into the queue always look up by index, with one plan for all arguments.
do $$
declare
  looked_up text;
begin
  foreach looked_up in array array[
    'count_jobs', 'first_in_line', 'settle_heads', 'enter_line', 'revive_sessions', 'jobs_updated', 'release_due'
  ] loop
    execute format('alter function private.%I set enable_seqscan = off', looked_up);
    execute format('alter function private.%I set plan_cache_mode = force_generic_plan', looked_up);
  end loop;
end
$$;
revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
revoke all on function private.recount_jobs() from service_role;
