-- The queue's verbs: enqueue, claim, renew, complete, fail, cancel, retry, hand back, reclaim.
--
-- The short forms (claim_next_job, complete_job, fail_job, get_queue_stats) are for people who type SQL. The worker calls
-- the wider forms, which carry the attempt: (job, attempt, worker) must be the claim that holds the job now. That is
-- checked under the job's row lock, and nothing of the write is kept otherwise. A lease is the truth about who works: a
-- job whose lease ran out is reclaimed, which counts as an attempt, and after max_retries attempts it is dead.
-- reclaim_worker ends the leases of one worker early. Only a caller that saw the worker's process dead may use it.
--
-- What follows from a change of status (lines, sessions, counts, notifications) is left to the triggers of 0005.
--
-- Errors carry their own SQLSTATE, so that programs need not read texts: MV001 the lease is lost, MV002 the head moved,
-- MV003 the budget is reached, MV004 there is no such thing, MV005 history is immutable, MV006 wrong status,
-- MV007 too many open sessions.

create function private.lock_lines(p_jobs uuid[]) returns void
language plpgsql set search_path = '' as $$
begin
  perform from public.projects p
  where p.id = any (array(select distinct j.project_id from public.coding_jobs j where j.id = any (p_jobs)))
  order by p.id for no key update;
end
$$;

create function private.locked_job(p_job uuid) returns public.coding_jobs
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
begin
  perform private.lock_lines(array[p_job]);
  select * into job from public.coding_jobs j where j.id = p_job for no key update;
  if not found then
    raise exception 'there is no job %', p_job using errcode = 'MV004';
  end if;
  return job;
end
$$;

create function private.fence(p_job uuid, p_attempt integer, p_worker text)
returns public.coding_jobs language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
begin
  select * into job from public.coding_jobs j where j.id = p_job for no key update;
  if not found or job.status <> 'processing' or job.attempt is distinct from p_attempt
    or job.worker is distinct from p_worker
  then
    raise exception 'attempt % of job % is not the one that holds it', p_attempt, p_job
      using errcode = 'MV001';
  end if;
  return job;
end
$$;

-- The same idempotency key again is the same job. The person's message is the prompt's event.
create function public.enqueue_job(
  p_session uuid,
  p_prompt text,
  p_priority integer default 0,
  p_recording text default null,
  p_budget_usd numeric default null,
  p_idempotency_key text default null
) returns uuid language plpgsql set search_path = '' as $$
declare
  job_id uuid;
begin
  insert into public.coding_jobs (session_id, prompt, priority, recording, budget_usd, idempotency_key)
  values (p_session, p_prompt, p_priority, p_recording, p_budget_usd, p_idempotency_key)
  on conflict (project_id, idempotency_key) where idempotency_key is not null do nothing
  returning id into job_id;
  if not found then
    select j.id into job_id from public.coding_jobs j
    where j.project_id = (select s.project_id from public.coding_sessions s where s.id = p_session)
      and j.idempotency_key = p_idempotency_key;
    return job_id;
  end if;
  perform private.append(
    p_session, '{message}', array[jsonb_build_object('text', p_prompt, 'author', 'person')], job_id
  );
  return job_id;
end
$$;

-- The most urgent heads that are ready, with a lease. A worker without a model claims recordings only and leaves the rest
-- to workers that have one.
create function public.claim_jobs(
  p_worker text, p_slots integer, p_lease interval, p_recordings_only boolean default false
) returns setof public.coding_jobs language plpgsql set search_path = '' as $$
begin
  if exists (
    select from public.coding_jobs j
    where starts_with(j.status, 'pending') and j.run_at <= statement_timestamp()
  ) then
    perform private.release_due(100);
  end if;
  return query
    with claimed as (
      update public.coding_jobs j
      set status = 'processing',
          attempt = j.attempt + 1,
          worker = p_worker,
          lease_expires_at = clock_timestamp() + p_lease,
          started_at = clock_timestamp()
      where j.id = any (array(
        select r.id from public.coding_jobs r
        where r.status = 'pending' and r.is_head and r.run_at is null
          and (r.recording is not null or not p_recordings_only)
        order by r.priority desc, r.created_at, r.id
        limit p_slots
        for no key update skip locked
      ))
      returning j.*
    )
    select * from claimed c order by c.priority desc, c.created_at, c.id;
end
$$;

create function public.claim_next_job(
  p_worker text default 'sql', p_lease interval default interval '15 minutes'
) returns setof public.coding_jobs language sql set search_path = '' as $$
  select * from public.claim_jobs(p_worker, 1, p_lease)
$$;

-- Extends the leases that hold. An attempt that is missing from the answer is lost.
create function public.renew_jobs(
  p_worker text, p_jobs uuid[], p_attempts integer[], p_lease interval
) returns table (job_id uuid, is_cancel_requested boolean)
language plpgsql set search_path = '' as $$
declare
  held uuid[];
begin
  select array_agg(locked.id) into held from (
    select j.id from unnest(p_jobs, p_attempts) as a (id, number)
    join public.coding_jobs j on j.id = a.id
    where j.attempt = a.number and j.worker = p_worker and j.status = 'processing'
    order by j.id for no key update of j
  ) locked;
  return query
    update public.coding_jobs j set lease_expires_at = clock_timestamp() + p_lease
    where j.id = any (held)
    returning j.id, j.cancel_requested;
end
$$;
comment on function public.renew_jobs is 'Leases that hold. Never null: job_id, is_cancel_requested.';

-- The same without writing: which attempts still hold their job, and whether they should stop.
create function public.held_jobs(p_worker text, p_jobs uuid[], p_attempts integer[])
returns table (job_id uuid, is_cancel_requested boolean)
language sql stable set search_path = '' as $$
  select j.id, j.cancel_requested
  from unnest(p_jobs, p_attempts) as a (id, number)
  join public.coding_jobs j on j.id = a.id
  where j.attempt = a.number and j.worker = p_worker and j.status = 'processing'
$$;
comment on function public.held_jobs is 'Leases that hold. Never null: job_id, is_cancel_requested.';

create function public.complete_job(p_job uuid, p_result jsonb default null) returns boolean
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs := private.locked_job(p_job);
begin
  if job.status <> 'processing' then
    raise exception 'job % is %, not processing', p_job, job.status using errcode = 'MV006';
  end if;
  update public.coding_jobs j set status = 'completed', result = p_result, error = null
  where j.id = p_job;
  return true;
end
$$;

-- Decides what becomes of failed attempts. The caller holds the locks. No reason means that the worker was lost.
create function private.end_attempts(
  p_jobs uuid[], p_reason text, p_retry boolean, p_at_once boolean
) returns table (id uuid, session_id uuid, status text, error text)
language sql set search_path = '' as $$
  update public.coding_jobs j
  set status = case
        when j.cancel_requested then 'cancelled'
        when p_retry and j.retry_count + 1 < j.max_retries then 'pending'
        else 'failed'
      end,
      retry_count = j.retry_count + 1,
      error = case
        when p_reason is not null then p_reason
        when j.cancel_requested then 'Cancelled.'
        when j.retry_count = 0 then 'The worker was lost.'
        else format('The worker was lost %s times.', j.retry_count + 1)
      end,
      run_at = case
        when p_retry and not p_at_once and not j.cancel_requested and j.retry_count + 1 < j.max_retries
          then clock_timestamp() + private.backoff(j.retry_count + 1)
      end
  where j.id = any (p_jobs)
  returning j.id, j.session_id, j.status, j.error
$$;

create function public.fail_job(p_job uuid, p_reason text) returns boolean
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs := private.locked_job(p_job);
begin
  if job.status <> 'processing' then
    raise exception 'job % is %, not processing', p_job, job.status using errcode = 'MV006';
  end if;
  return (select e.status = 'pending' from private.end_attempts(array[p_job], p_reason, true, false) e);
end
$$;

create function public.fail_attempt(
  p_job uuid,
  p_attempt integer,
  p_worker text,
  p_reason text,
  p_retry boolean,
  p_types text[] default '{}',
  p_datas jsonb[] default '{}'
) returns boolean language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
  will_retry boolean;
begin
  perform private.lock_lines(array[p_job]);
  job := private.fence(p_job, p_attempt, p_worker);
  select e.status = 'pending' into will_retry
  from private.end_attempts(array[p_job], p_reason, p_retry, false) e;
  perform private.append(
    job.session_id,
    p_types,
    array(
      select case
        when e.type = 'error' then e.data || jsonb_build_object('will_retry', will_retry)
        else e.data
      end
      from unnest(p_types, p_datas) with ordinality as e (type, data, n) order by e.n
    ),
    p_job
  );
  return will_retry;
end
$$;

create function public.cancel_attempt(
  p_job uuid,
  p_attempt integer,
  p_worker text,
  p_types text[] default '{}',
  p_datas jsonb[] default '{}'
) returns void language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
begin
  perform private.lock_lines(array[p_job]);
  job := private.fence(p_job, p_attempt, p_worker);
  update public.coding_jobs j set status = 'cancelled', error = 'Cancelled.' where j.id = p_job;
  perform private.append(job.session_id, p_types, p_datas, p_job);
end
$$;

create function private.append_error(
  p_session uuid, p_job uuid, p_message text, p_will_retry boolean, p_is_cancelled boolean
) returns void language plpgsql set search_path = '' as $$
begin
  perform private.append(
    p_session,
    array['error'],
    array[jsonb_build_object(
      'message', p_message, 'remedy', '', 'will_retry', p_will_retry, 'is_cancelled', p_is_cancelled
    )],
    p_job
  );
end
$$;

-- A worker that stops gracefully: pending again at once, and no attempt is counted.
create function public.hand_back_attempt(p_job uuid, p_attempt integer, p_worker text) returns void
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
begin
  perform private.lock_lines(array[p_job]);
  job := private.fence(p_job, p_attempt, p_worker);
  if job.cancel_requested then
    update public.coding_jobs j set status = 'cancelled', error = 'Cancelled.' where j.id = p_job;
    perform private.append_error(job.session_id, p_job, 'Cancelled.', false, true);
  else
    update public.coding_jobs j set status = 'pending', run_at = null where j.id = p_job;
  end if;
end
$$;

create function public.cancel_job(p_job uuid) returns text
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs := private.locked_job(p_job);
begin
  if job.status = 'pending' then
    update public.coding_jobs j set status = 'cancelled', error = 'Cancelled.' where j.id = p_job;
    perform private.append_error(job.session_id, p_job, 'Cancelled.', false, true);
    return 'cancelled';
  end if;
  if job.status = 'processing' and not job.cancel_requested then
    update public.coding_jobs j set cancel_requested = true where j.id = p_job;
  end if;
  return job.status;
end
$$;

create function public.retry_job(p_job uuid) returns void
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs := private.locked_job(p_job);
begin
  if job.status not in ('failed', 'cancelled') then
    raise exception 'job % is %: only failed and cancelled ones are retried', p_job, job.status
      using errcode = 'MV006';
  end if;
  perform from public.projects p where p.id = job.project_id and p.status <> 'deleted';
  if not found then
    raise exception 'the project of job % is deleted', p_job using errcode = 'MV004';
  end if;
  update public.coding_jobs j
  set status = 'pending', retry_count = 0, run_at = null, error = null
  where j.id = p_job;
end
$$;

-- Up to p_limit dead jobs that can be retried, of p_among if it is given, the longest dead first. Jobs of deleted projects
-- stay dead. So do those that would open more sessions than their owner may have: of an owner's closed sessions, as many
-- reopen as there is room for.
create function private.retriable(p_limit integer, p_among uuid[] default null) returns uuid[]
language sql volatile set search_path = '' as $$
  with failed as (
    select
      j.id, j.user_id, j.session_id, j.completed_at,
      s.status in ('pending', 'active', 'paused') and s.expires_at > statement_timestamp() as is_open,
      min(j.completed_at) over (partition by j.session_id) as since
    from public.coding_jobs j
    join public.projects p on p.id = j.project_id and p.status <> 'deleted'
    join public.coding_sessions s on s.id = j.session_id
    where j.status = 'failed' and (p_among is null or j.id = any (p_among))
  ), placed as (
    select f.*, dense_rank() over (partition by f.user_id, f.is_open order by f.since, f.session_id) as place
    from failed f
  ), limited as (
    select p.id as user_id, p.sessions_limit - count(s.id) as room
    from public.profiles p
    left join public.coding_sessions s
      on s.user_id = p.id and s.status in ('pending', 'active', 'paused') and s.expires_at > statement_timestamp()
    where p.tier <> 'local' and p.sessions_limit is not null and p.id in (select f.user_id from failed f)
    group by p.id
  )
  select array_agg(d.id) from (
    select j.id from placed j left join limited l on l.user_id = j.user_id
    where j.is_open or l.user_id is null or j.place <= l.room
    order by j.completed_at limit p_limit
  ) d
$$;

-- Retries up to p_limit dead jobs and returns their ids; none means that no other can be retried. What can be retried is
-- decided again under the locks, so that a session that opens meanwhile keeps its owner's jobs dead, and no others.
create function public.retry_all_dead(p_limit integer default 1000) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  dead uuid[] := private.retriable(p_limit);
begin
  if dead is null then
    return;
  end if;
  perform private.lock_lines(dead);
  perform from public.coding_sessions s
  where s.id = any (array(select j.session_id from public.coding_jobs j where j.id = any (dead)))
  order by s.id for no key update;
  perform from public.profiles p
  where p.id = any (array(select j.user_id from public.coding_jobs j where j.id = any (dead)))
  order by p.id for no key update;
  dead := private.retriable(p_limit, dead);
  return query
    update public.coding_jobs j
    set status = 'pending', retry_count = 0, run_at = null, error = null
    where j.id = any (dead) and j.status = 'failed'
    returning j.id;
  if not found then
    return query select public.retry_all_dead(p_limit);
  end if;
end
$$;

-- The caller holds the locks of the projects and of the jobs. A lost worker counts as an attempt.
create function private.reclaim(p_jobs uuid[]) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  ended record;
begin
  for ended in select * from private.end_attempts(p_jobs, null, true, true) e order by e.id loop
    perform private.append_error(
      ended.session_id, ended.id, ended.error, ended.status = 'pending', ended.status = 'cancelled'
    );
    return next ended.id;
  end loop;
end
$$;

create function public.reclaim_jobs(p_limit integer default 100) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  late uuid[];
  free uuid[];
begin
  select array_agg(l.id), array_agg(l.project_id) into late, free from (
    select j.id, j.project_id from public.coding_jobs j
    where j.status = 'processing' and j.lease_expires_at < statement_timestamp()
    order by j.lease_expires_at limit p_limit
  ) l;
  if late is null then
    return;
  end if;
  select array_agg(locked.id) into free from (
    select p.id from public.projects p where p.id = any (free)
    order by p.id for no key update skip locked
  ) locked;
  select array_agg(locked.id) into late from (
    select j.id from public.coding_jobs j
    where j.id = any (late) and j.project_id = any (free)
      and j.status = 'processing' and j.lease_expires_at < clock_timestamp()
    order by j.id for no key update skip locked
  ) locked;
  return query select private.reclaim(late);
end
$$;

-- Ends the leases of a worker whose process was seen dead on its own machine; never of one that is merely silent.
create function public.reclaim_worker(p_worker text, p_machine_key text) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  held uuid[];
begin
  update public.workers w set gone_at = coalesce(w.gone_at, clock_timestamp())
  where w.id = p_worker and w.machine_key = p_machine_key;
  if not found then
    return;
  end if;
  perform private.lock_lines(array(
    select j.id from public.coding_jobs j where j.status = 'processing' and j.worker = p_worker
  ));
  select array_agg(locked.id) into held from (
    select j.id from public.coding_jobs j
    where j.status = 'processing' and j.worker = p_worker
    order by j.id for no key update
  ) locked;
  return query select private.reclaim(held);
end
$$;

create function private.notify_worker() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_notify('worker_changed', new.id);
  return null;
end
$$;
create trigger notify_worker_started after insert on public.workers
  for each row execute function private.notify_worker();
create trigger notify_worker_ended after update of gone_at on public.workers
  for each row when ((new.gone_at is null) <> (old.gone_at is null))
  execute function private.notify_worker();

-- Seconds until a job falls due or a lease runs out; null when neither is in sight.
create function public.next_due_seconds() returns double precision
language sql stable set search_path = '' as $$
  select greatest(extract(epoch from next.at - statement_timestamp()), 0)::double precision
  from (
    select least(
      (select min(j.run_at) from public.coding_jobs j
       where starts_with(j.status, 'pending') and j.run_at is not null),
      (select min(j.lease_expires_at) from public.coding_jobs j where j.status = 'processing')
    ) as at
  ) next
  where next.at is not null
$$;

-- Costs the same with a million jobs as with one. Jobs of deleted projects that wait count as pending, and do not age.
create function public.get_queue_stats() returns table (
  pending bigint,
  processing bigint,
  completed bigint,
  failed bigint,
  cancelled bigint,
  oldest_pending_seconds double precision
) language sql stable set search_path = '' as $$
  select
    coalesce(sum(c.jobs) filter (where c.status = 'pending'), 0)::bigint,
    coalesce(sum(c.jobs) filter (where c.status = 'processing'), 0)::bigint,
    coalesce(sum(c.jobs) filter (where c.status = 'completed'), 0)::bigint,
    coalesce(sum(c.jobs) filter (where c.status = 'failed'), 0)::bigint,
    coalesce(sum(c.jobs) filter (where c.status = 'cancelled'), 0)::bigint,
    (
      select greatest(extract(epoch from statement_timestamp() - j.created_at), 0)::double precision
      from public.coding_jobs j
      cross join lateral (
        select p.id from public.projects p
        where p.id = j.project_id and p.status <> 'deleted' limit 1
      ) line
      where starts_with(j.status, 'pend') order by j.created_at limit 1
    )
  from private.job_counts c
$$;
comment on function public.get_queue_stats is
  'Jobs by status. Never null: pending, processing, completed, failed, cancelled.';

-- One plan for all arguments, always by index: see the end of 0005. The verbs are the service role's.
do $$
declare
  verb text;
begin
  foreach verb in array array[
    'private.lock_lines', 'private.end_attempts', 'private.retriable', 'private.reclaim', 'public.enqueue_job',
    'public.claim_jobs', 'public.renew_jobs', 'public.held_jobs', 'public.retry_all_dead', 'public.reclaim_jobs',
    'public.reclaim_worker'
  ] loop
    execute format('alter function %s set enable_seqscan = off', verb);
    execute format('alter function %s set plan_cache_mode = force_generic_plan', verb);
  end loop;
  foreach verb in array array[
    'enqueue_job', 'claim_jobs', 'claim_next_job', 'renew_jobs', 'held_jobs', 'complete_job', 'fail_job',
    'fail_attempt', 'cancel_attempt', 'hand_back_attempt', 'cancel_job', 'retry_job', 'retry_all_dead',
    'reclaim_jobs', 'reclaim_worker', 'next_due_seconds', 'get_queue_stats'
  ] loop
    execute format('revoke all on function public.%I from public, anon, authenticated', verb);
    execute format('grant execute on function public.%I to service_role', verb);
  end loop;
end
$$;
revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
revoke all on function private.recount_jobs() from service_role;
