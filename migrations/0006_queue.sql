-- The queue's verbs: enqueue, claim, renew, complete, fail, cancel, retry, hand back, reclaim.
--
-- The short forms (claim_next_job, complete_job, fail_job, get_queue_stats) are for people who type SQL. The worker calls
-- the wider forms, which carry the attempt: (job, attempt, worker) must be the claim that holds the job now, checked
-- under the job's row lock, or nothing of the write is kept. A lease is the truth about who works; a job whose lease ran
-- out is reclaimed, which counts as an attempt, and after max_retries attempts it is dead.
--
-- Errors carry their own SQLSTATE, so that programs need not read texts: MV001 the lease is lost, MV002 the head moved,
-- MV003 the budget is reached, MV004 there is no such thing, MV005 history is immutable, MV006 wrong status,
-- MV007 too many open sessions.

create function private.lock_line(p_job uuid) returns void language plpgsql set search_path = '' as $$
begin
  perform from public.projects p
  where p.id = (select j.project_id from public.coding_jobs j where j.id = p_job)
  for no key update;
end
$$;

create function private.locked_job(p_job uuid) returns public.coding_jobs
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
begin
  perform private.lock_line(p_job);
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
  insert into public.coding_jobs (
    session_id, prompt, priority, recording, budget_usd, idempotency_key
  )
  values (p_session, p_prompt, p_priority, p_recording, p_budget_usd, p_idempotency_key)
  on conflict (project_id, idempotency_key) where idempotency_key is not null do nothing
  returning id into job_id;
  if job_id is null then
    select j.id into job_id
    from public.coding_jobs j join public.coding_sessions s on s.project_id = j.project_id
    where s.id = p_session and j.idempotency_key = p_idempotency_key;
    return job_id;
  end if;
  perform private.append(
    p_session,
    array['message'],
    array[jsonb_build_object('text', p_prompt, 'author', 'person')],
    job_id
  );
  return job_id;
end
$$;

-- A worker without a model claims recordings only; the rest waits for one that has a model.
create function public.claim_jobs(
  p_worker text, p_slots integer, p_lease interval, p_recordings_only boolean default false
) returns setof public.coding_jobs language plpgsql set search_path = '' as $$
begin
  if exists (
    select from public.coding_jobs j
    where j.status = 'pending' and j.run_at <= statement_timestamp()
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

create function public.renew_jobs(
  p_worker text, p_jobs uuid[], p_attempts integer[], p_lease interval
) returns table (job_id uuid, is_cancel_requested boolean)
language sql set search_path = '' as $$
  with held as (
    select j.id from public.coding_jobs j
    join unnest(p_jobs, p_attempts) as a (id, number) on a.id = j.id and a.number = j.attempt
    where j.worker = p_worker and j.status = 'processing'
    order by j.id for no key update of j
  )
  update public.coding_jobs j set lease_expires_at = clock_timestamp() + p_lease
  from held where j.id = held.id
  returning j.id, j.cancel_requested
$$;

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

-- The one place that says what a failed attempt becomes. The caller holds the locks. True: it will be retried.
create function private.end_attempt(
  p_job public.coding_jobs, p_reason text, p_retry boolean, p_at_once boolean
) returns boolean language plpgsql set search_path = '' as $$
declare
  failures integer := p_job.retry_count + 1;
  will_retry boolean := p_retry and not p_job.cancel_requested and failures < p_job.max_retries;
begin
  update public.coding_jobs j
  set status = case
        when will_retry then 'pending' when p_job.cancel_requested then 'cancelled' else 'failed'
      end,
      retry_count = failures,
      error = p_reason,
      run_at = case
        when will_retry and not p_at_once then clock_timestamp() + private.backoff(failures)
      end
  where j.id = p_job.id;
  return will_retry;
end
$$;

create function public.fail_job(p_job uuid, p_reason text) returns boolean
language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs := private.locked_job(p_job);
begin
  if job.status <> 'processing' then
    raise exception 'job % is %, not processing', p_job, job.status using errcode = 'MV006';
  end if;
  return private.end_attempt(job, p_reason, true, false);
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
  perform private.lock_line(p_job);
  job := private.fence(p_job, p_attempt, p_worker);
  will_retry := private.end_attempt(job, p_reason, p_retry, false);
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
  perform private.lock_line(p_job);
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
  perform private.lock_line(p_job);
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
  update public.coding_jobs j
  set status = 'pending', retry_count = 0, run_at = null, error = null
  where j.id = p_job;
end
$$;

create function public.reclaim_jobs(p_limit integer default 100) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  one record;
  job public.coding_jobs;
  reason text;
  will_retry boolean;
begin
  for one in
    select j.id, j.project_id from public.coding_jobs j
    where j.status = 'processing' and j.lease_expires_at < statement_timestamp()
    order by j.lease_expires_at limit p_limit
  loop
    perform from public.projects p where p.id = one.project_id for no key update skip locked;
    continue when not found;
    select * into job from public.coding_jobs j
    where j.id = one.id and j.status = 'processing' and j.lease_expires_at < clock_timestamp()
    for no key update skip locked;
    continue when not found;
    reason := case
      when job.cancel_requested then 'Cancelled.'
      when job.retry_count = 0 then 'The worker was lost.'
      else format('The worker was lost %s times.', job.retry_count + 1)
    end;
    will_retry := private.end_attempt(job, reason, true, true);
    perform private.append_error(job.session_id, job.id, reason, will_retry, job.cancel_requested);
    return next job.id;
  end loop;
end
$$;

-- Seconds until a job falls due or a lease runs out; null when neither is in sight.
create function public.next_due_seconds() returns double precision
language sql stable set search_path = '' as $$
  select greatest(extract(epoch from next.at - statement_timestamp()), 0)::double precision
  from (
    select least(
      (select min(j.run_at) from public.coding_jobs j
       where j.status = 'pending' and j.run_at is not null),
      (select min(j.lease_expires_at) from public.coding_jobs j where j.status = 'processing')
    ) as at
  ) next
  where next.at is not null
$$;

create function public.get_queue_stats() returns table (
  pending bigint,
  processing bigint,
  completed bigint,
  failed bigint,
  cancelled bigint,
  oldest_pending_seconds double precision
) language sql stable set search_path = '' as $$
  select
    (select count(*) from public.coding_jobs j where j.status = 'pending'),
    (select count(*) from public.coding_jobs j where j.status = 'processing'),
    count(*) filter (where f.status = 'completed'),
    count(*) filter (where f.status = 'failed'),
    count(*) filter (where f.status = 'cancelled'),
    (
      select greatest(extract(epoch from statement_timestamp() - j.created_at), 0)::double precision
      from public.coding_jobs j where j.status = 'pending' order by j.created_at limit 1
    )
  from public.coding_jobs f where f.status in ('completed', 'failed', 'cancelled')
$$;

revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
revoke all on function
  public.enqueue_job, public.claim_jobs, public.claim_next_job, public.renew_jobs, public.complete_job,
  public.fail_job, public.fail_attempt, public.cancel_attempt, public.hand_back_attempt, public.cancel_job,
  public.retry_job, public.reclaim_jobs, public.next_due_seconds, public.get_queue_stats
from public, anon, authenticated;
grant execute on function
  public.enqueue_job, public.claim_jobs, public.claim_next_job, public.renew_jobs, public.complete_job,
  public.fail_job, public.fail_attempt, public.cancel_attempt, public.hand_back_attempt, public.cancel_job,
  public.retry_job, public.reclaim_jobs, public.next_due_seconds, public.get_queue_stats
to service_role;
