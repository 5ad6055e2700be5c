-- The queue's verbs: enqueue, claim, renew, complete, fail, cancel, retry, hand back, reclaim.
--
-- The short forms (claim_next_job, complete_job, fail_job, get_queue_stats) are for people who type SQL. The worker calls
-- the wider forms, which carry the attempt: (job, attempt, worker) must be the claim that holds the job now, checked
-- under the job's row lock, or nothing of the write is kept; of a batch, each job is judged by itself. A lease is the
-- truth about who works; a job whose lease ran out is reclaimed, which counts as an attempt, and after max_retries
-- attempts it is dead. reclaim_worker cuts the leases of one worker short: only whoever saw its process dead calls it.
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

create function private.lock_lines(p_jobs uuid[]) returns void
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
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

-- Looks and writes once, under the project's lock; what the triggers of both tables see to is seen to here.
create function public.enqueue_job(
  p_session uuid,
  p_prompt text,
  p_priority integer default 0,
  p_recording text default null,
  p_budget_usd numeric default null,
  p_idempotency_key text default null
) returns uuid language plpgsql
set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  line uuid;
  owner uuid;
  place record;
  entered_at timestamptz;
  job_id uuid;
  number bigint;
begin
  select p.id, p.user_id into line, owner from public.projects p
  where p.id = (select s.project_id from public.coding_sessions s where s.id = p_session)
    and p.status <> 'deleted'
  for no key update;
  if not found then
    raise exception 'there is no session %, or its project is deleted', p_session using errcode = 'MV004';
  end if;
  entered_at := clock_timestamp();
  select
    (
      select j.id from public.coding_jobs j
      where j.project_id = line and j.idempotency_key = p_idempotency_key
    ) as known,
    s.status <> 'active' or s.expires_at < now() + interval '23 hours' as is_asleep,
    head.id is null as is_head,
    head.status = 'pending' and (
      head.priority < p_priority or head.created_at >= entered_at
      or (head.run_at is not null and head.attempt = 0)
    ) as may_be_overtaken
  into place
  from public.coding_sessions s
  left join lateral (
    select j.id, j.status, j.run_at, j.attempt, j.priority, j.created_at
    from public.coding_jobs j where j.project_id = line and j.is_head limit 1
  ) head on true
  where s.id = p_session;
  if not found then
    raise exception 'there is no session %', p_session using errcode = 'MV004';
  end if;
  if place.known is not null then
    return place.known;
  end if;
  perform set_config('mobvibe.writes', pg_trigger_depth()::text, true);
  insert into public.coding_jobs (
    session_id, project_id, user_id, prompt, priority, recording, budget_usd, idempotency_key, is_head,
    created_at
  )
  values (
    p_session, line, owner, p_prompt, p_priority, p_recording, p_budget_usd, p_idempotency_key,
    place.is_head, entered_at
  )
  returning id into job_id;
  if place.may_be_overtaken then
    perform private.settle_heads(array[line]);
  end if;
  if place.is_asleep then
    perform private.revive_sessions(array[p_session]);
  end if;
  with counted as (
    update public.coding_sessions s set last_seq = s.last_seq + 1, updated_at = now()
    where s.id = p_session
    returning s.last_seq
  )
  insert into public.session_events (session_id, seq, job_id, user_id, event_type, data)
  select
    p_session, c.last_seq, job_id, owner, 'message', jsonb_build_object('text', p_prompt, 'author', 'person')
  from counted c
  returning seq into number;
  perform
    set_config('mobvibe.writes', '', true),
    private.count_jobs(1, 0, 0, 0, 0),
    pg_notify('new_job', '[{"id": "' || job_id || '", "priority": ' || p_priority || '}]'),
    pg_notify('session_events', p_session || ':' || number);
  return job_id;
end
$$;

-- Many prompts at once, each with the person's message unless told otherwise. The ids come in the order given; a key
-- that its project has already is the job that has it.
create function public.enqueue_jobs(
  p_sessions uuid[],
  p_prompts text[],
  p_priorities integer[] default null,
  p_recordings text[] default null,
  p_idempotency_keys text[] default null,
  p_messages boolean default true
) returns setof uuid language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  projects uuid[];
  owners uuid[];
  present uuid[];
  ids uuid[];
  first_at timestamptz;
  entered record;
begin
  select array_agg(s.project_id order by w.n), array_agg(s.user_id order by w.n) into projects, owners
  from unnest(p_sessions) with ordinality as w (session_id, n)
  left join lateral (
    select o.project_id, o.user_id from public.coding_sessions o where o.id = w.session_id limit 1
  ) s on true;
  select array_agg(locked.id) into present from (
    select p.id from public.projects p
    where p.id = any (projects) and p.status <> 'deleted' order by p.id for no key update
  ) locked;
  if exists (select unnest(projects) except select unnest(present)) then
    raise exception 'a session is unknown, or its project is deleted' using errcode = 'MV004';
  end if;
  first_at := clock_timestamp();
  ids := private.uuid7s(cardinality(p_sessions));
  perform set_config('mobvibe.writes', pg_trigger_depth()::text, true);
  with wanted as (
    select w.*, coalesce(w.given_priority, 0) as priority
    from unnest(
      ids, p_sessions, projects, owners, p_prompts, p_priorities, p_recordings, p_idempotency_keys
    ) with ordinality as w (
      id, session_id, project_id, user_id, prompt, given_priority, recording, idempotency_key, n
    )
  ), keyed as (
    select distinct on (w.project_id, w.idempotency_key) w.n
    from wanted w left join lateral (
      select j.id from public.coding_jobs j
      where j.project_id = w.project_id and j.idempotency_key = w.idempotency_key limit 1
    ) known on true
    where w.idempotency_key is not null and known.id is null
    order by w.project_id, w.idempotency_key, w.n
  ), placed as (
    select w.*, row_number() over (partition by w.project_id order by w.priority desc, w.n) as place
    from wanted w where w.idempotency_key is null or w.n in (select k.n from keyed k)
  ), fitted as materialized (
    select
      w.*,
      w.place = 1 and head.id is null as is_head,
      head.status = 'pending' and (
        head.priority < w.priority or head.created_at >= first_at
        or (head.run_at is not null and head.attempt = 0)
      ) as may_overtake
    from placed w left join lateral (
      select j.id, j.status, j.run_at, j.attempt, j.priority, j.created_at from public.coding_jobs j
      where w.place = 1 and j.project_id = w.project_id and j.is_head limit 1
    ) head on true
    order by w.n
  ), made as (
    insert into public.coding_jobs (
      id, session_id, project_id, user_id, prompt, priority, recording, idempotency_key, is_head, created_at
    )
    select
      w.id, w.session_id, w.project_id, w.user_id, w.prompt, w.priority, w.recording,
      w.idempotency_key, w.is_head, first_at + w.n * interval '1 microsecond'
    from fitted w
  )
  select
    array_agg(w.id) as jobs,
    array_agg(w.session_id) as sessions,
    array_agg(w.n) as places,
    array_agg(w.project_id) filter (where w.may_overtake) as unsettled,
    array_agg('{"id": "' || w.id || '", "priority": ' || w.priority || '}') as items,
    array_agg(jsonb_build_object('text', w.prompt, 'author', 'person')) filter (where p_messages) as messages
  into entered from fitted w;
  perform set_config('mobvibe.writes', '', true);
  if entered.jobs is not null then
    if entered.unsettled is not null then
      perform private.settle_heads(entered.unsettled);
    end if;
    perform private.revive_sessions(entered.sessions);
    perform private.count_jobs(cardinality(entered.jobs), 0, 0, 0, 0);
    perform private.notify_in_pieces('new_job', entered.items, '[', ']');
    if p_messages then
      perform private.append_each(
        entered.sessions,
        array_fill('message'::text, array[cardinality(entered.jobs)]),
        entered.messages,
        entered.jobs
      );
    end if;
  end if;
  if p_idempotency_keys is null then
    return query select unnest(ids);
    return;
  end if;
  return query
    select coalesce(made.id, known.id)
    from unnest(p_sessions, p_idempotency_keys) with ordinality as w (session_id, idempotency_key, n)
    full join unnest(entered.jobs, entered.places) as made (id, n) on made.n = w.n
    left join lateral (
      select j.id from public.coding_jobs j
      where j.project_id = (select s.project_id from public.coding_sessions s where s.id = w.session_id)
        and j.idempotency_key = w.idempotency_key
      limit 1
    ) known on made.id is null
    order by w.n;
end
$$;

-- Of what waits in p_freed, projects that the caller has locked, where they have no head: the most urgent, of those and of the
-- heads that are ready. The other projects get their heads; one that is deleted gets none.
create function private.followers(p_freed uuid[], p_slots integer, p_recordings_only boolean) returns uuid[]
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  chosen uuid[];
  others uuid[];
begin
  with waiting as (
    select
      n.id, line.project_id, n.priority, n.created_at,
      n.id is not null and n.run_at is null
        and (n.recording is not null or not p_recordings_only) as may_follow
    from (
      select p.id as project_id from public.projects p
      where p.id = any (p_freed) and p.status <> 'deleted'
        and not exists (select from public.coding_jobs h where h.project_id = p.id and h.is_head)
    ) line
    left join lateral (
      select j.id, j.priority, j.created_at, j.run_at, j.recording
      from public.coding_jobs j
      where j.project_id = line.project_id and j.status = 'pending'
        and (j.run_at is null or j.attempt > 0)
      order by j.priority desc, j.created_at, j.id limit 1
    ) n on true
    left join lateral (
      select j.id from public.coding_jobs j
      where n.id is null and j.project_id = line.project_id and j.status = 'pending'
        and j.run_at is not null and j.attempt = 0
      limit 1
    ) scheduled on true
    where n.id is not null or scheduled.id is not null
  ), ready as (
    select r.id, r.priority, r.created_at from public.coding_jobs r
    where r.status = 'pending' and r.is_head and r.run_at is null
      and (r.recording is not null or not p_recordings_only)
      and exists (select from waiting w where w.may_follow)
    order by r.priority desc, r.created_at, r.id limit p_slots
  ), first_ones as (
    select w.id, w.priority, w.created_at, w.project_id from waiting w where w.may_follow
    union all select r.id, r.priority, r.created_at, null from ready r
    order by 2 desc, 3, 1 limit p_slots
  )
  select
    array_agg(o.id) filter (where o.project_id is not null),
    (
      select array_agg(w.project_id) from waiting w
      where w.project_id not in (select f.project_id from first_ones f where f.project_id is not null)
    )
  into chosen, others from first_ones o;
  if others is not null then
    perform private.settle_heads(others);
  end if;
  return chosen;
end
$$;

-- Claims the most urgent of the heads that are ready and of those that follow in p_freed, where a head was completed
-- just now: such a follower becomes head and runs in one step. It counts what it moves and what was completed, and tells.
create function private.claim(
  p_worker text, p_slots integer, p_lease interval, p_recordings_only boolean, p_freed uuid[]
) returns setof public.coding_jobs language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  chosen uuid[];
  claimed integer := 0;
begin
  if exists (
    select from public.coding_jobs j
    where starts_with(j.status, 'pending') and j.run_at <= statement_timestamp()
  ) then
    perform private.release_due(100);
  end if;
  if p_freed is not null then
    chosen := private.followers(p_freed, p_slots, p_recordings_only);
  end if;
  if p_slots > coalesce(cardinality(chosen), 0) then
    chosen := chosen || array(
      select r.id from public.coding_jobs r
      where r.status = 'pending' and r.is_head and r.run_at is null
        and (r.recording is not null or not p_recordings_only)
      order by r.priority desc, r.created_at, r.id
      limit p_slots - coalesce(cardinality(chosen), 0)
      for no key update skip locked
    );
  end if;
  if chosen <> '{}' then
    perform set_config('mobvibe.moves', pg_trigger_depth()::text, true);
    return query
      update public.coding_jobs j
      set status = 'processing',
          is_head = true,
          attempt = j.attempt + 1,
          worker = p_worker,
          lease_expires_at = clock_timestamp() + p_lease,
          started_at = clock_timestamp(),
          updated_at = now()
      where j.id = any (chosen) and j.status = 'pending'
      returning j.*;
    get diagnostics claimed = row_count;
    perform set_config('mobvibe.moves', '', true);
    if claimed < cardinality(chosen) then
      chosen := array(
        select j.id from public.coding_jobs j
        where j.id = any (chosen) and starts_with(j.status, 'processing') and j.worker = p_worker
      );
      if p_freed is not null then  -- one was deleted, or moved by hand, while it was waited for
        perform private.settle_heads(p_freed);
      end if;
    end if;
  end if;
  perform private.count_jobs(
    -claimed, claimed - coalesce(cardinality(p_freed), 0), coalesce(cardinality(p_freed), 0), 0, 0
  );
  perform private.tell_moves(chosen, 'pending', 'processing');
end
$$;

-- A worker without a model claims recordings only; the rest waits for one that has a model.
create function public.claim_jobs(
  p_worker text, p_slots integer, p_lease interval, p_recordings_only boolean default false
) returns setof public.coding_jobs language sql set search_path = '' as $$
  select * from private.claim(p_worker, p_slots, p_lease, p_recordings_only, null) c
  order by c.priority desc, c.created_at, c.id
$$;

create function public.claim_next_job(
  p_worker text default 'sql', p_lease interval default interval '15 minutes'
) returns setof public.coding_jobs language sql set search_path = '' as $$
  select * from public.claim_jobs(p_worker, 1, p_lease)
$$;

create function public.renew_jobs(
  p_worker text, p_jobs uuid[], p_attempts integer[], p_lease interval
) returns table (job_id uuid, is_cancel_requested boolean)
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  held uuid[];
begin
  select array_agg(l.id) filter (where l.is_ours and l.attempt = a.number) into held
  from unnest(p_jobs, p_attempts) as a (id, number)
  full join (
    select j.id, j.attempt, j.worker = p_worker and j.status = 'processing' as is_ours
    from public.coding_jobs j where j.id = any (p_jobs) order by j.id for no key update
  ) l on l.id = a.id;
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
  cross join lateral (select l.* from public.coding_jobs l where l.id = a.id limit 1) j
  where j.attempt = a.number and j.worker = p_worker and j.status = 'processing'
$$;
comment on function public.held_jobs is 'Leases that hold. Never null: job_id, is_cancel_requested.';

-- Locks the projects of a batch and completes what it still holds; gives back the projects of those, one each. It tells
-- what it moves; the caller counts, and settles the lines. Without p_wait, what is of a project that somebody else holds
-- is left as it is, and said to be busy: whoever has other things to do comes back.
create function private.complete_held(
  p_worker text, p_jobs uuid[], p_attempts integer[], p_results jsonb, p_wait boolean,
  out p_freed uuid[], out p_lost uuid[], out p_busy uuid[]
) language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  seen record;
  held uuid[];
  attempts bigint;
  free uuid[];
  done record;
begin
  select
    array_agg(l.id) filter (where l.is_ours and l.status = 'processing') as held,
    array_agg(l.attempt) filter (where l.is_ours and l.status = 'processing') as numbers,
    sum(l.attempt) filter (where l.is_ours and l.status = 'processing') as attempts,
    array_agg(a.id) filter (where l.is_ours is not true) as lost,
    array_agg(l.project_id) filter (where l.is_ours and l.status = 'processing') as lines
  into seen
  from (select distinct * from unnest(p_jobs, p_attempts)) as a (id, number)
  left join lateral (
    select
      j.id, j.project_id, j.attempt, j.status,
      j.worker = p_worker and j.attempt = a.number and j.status in ('processing', 'completed') as is_ours
    from public.coding_jobs j where j.id = a.id limit 1
  ) l on true;
  p_lost := seen.lost;
  held := seen.held;
  attempts := seen.attempts;
  if held is null then
    return;
  end if;
  if p_wait then
    perform from public.projects p where p.id = any (seen.lines) order by p.id for no key update;
  else
    free := array(
      select p.id from public.projects p where p.id = any (seen.lines)
      order by p.id for no key update skip locked
    );
    if cardinality(free) < cardinality(held) then
      select
        array_agg(h.id) filter (where h.line = any (free)),
        sum(h.number) filter (where h.line = any (free)),
        array_agg(h.id) filter (where h.line <> all (free))
      into held, attempts, p_busy
      from unnest(seen.held, seen.numbers, seen.lines) as h (id, number, line);
    end if;
  end if;
  perform set_config('mobvibe.moves', pg_trigger_depth()::text, true);
  with completed as (
    update public.coding_jobs j
    set status = 'completed',
        error = null,
        result = p_results -> j.id::text,
        is_head = false,
        run_at = null,
        lease_expires_at = null,
        completed_at = clock_timestamp(),
        updated_at = now()
    where j.id = any (held) and starts_with(j.status, 'processing') and j.worker = p_worker
    returning j.id, j.attempt, j.project_id
  )
  select array_agg(c.id) as ids, sum(c.attempt) as attempts, array_agg(c.project_id) as freed
  into done from completed c;
  perform set_config('mobvibe.moves', '', true);
  -- Attempts only grow: another sum, or another number, is a job that somebody took while its project was waited for.
  if done.attempts is distinct from attempts or cardinality(done.ids) <> cardinality(held) then
    raise exception 'a job of the batch changed hands in this moment' using errcode = 'serialization_failure';
  end if;
  perform private.tell_moves(done.ids, 'processing', 'completed');
  p_freed := done.freed;
end
$$;

-- Completes a batch of attempts that leave no files, p_results by job id; gives those back that did not hold their job
-- any more. An attempt that completed its job before (the answer was lost on the way) is as good as one that does now.
create function public.complete_jobs(
  p_worker text, p_jobs uuid[], p_attempts integer[], p_results jsonb default '{}'
) returns setof uuid language plpgsql set search_path = '' as $$
declare
  batch record;
begin
  select * into batch from private.complete_held(p_worker, p_jobs, p_attempts, p_results, true);
  if batch.p_freed is not null then
    perform private.claim(p_worker, 0, interval '0', false, batch.p_freed);
  end if;
  return query select unnest(batch.p_lost);
end
$$;

-- Completes a batch and claims up to p_slots, which may be what follows in the same projects: one round trip, one commit.
-- It waits for no project. A row is a claimed job; one without a session is an attempt of the batch: without a status it did
-- not hold its job any more, else it is not completed yet, for its project is locked in this moment.
create function public.finish_and_claim(
  p_worker text,
  p_jobs uuid[],
  p_attempts integer[],
  p_results jsonb,
  p_slots integer,
  p_lease interval,
  p_recordings_only boolean default false
) returns setof public.coding_jobs language plpgsql set search_path = '' as $$
declare
  batch record;
  freed uuid[];
  left_over public.coding_jobs;
begin
  if cardinality(p_jobs) > 0 then
    select * into batch from private.complete_held(p_worker, p_jobs, p_attempts, p_results, false);
    freed := batch.p_freed;
    foreach left_over.id in array coalesce(batch.p_lost, '{}') loop
      return next left_over;
    end loop;
    left_over.status := 'processing';
    foreach left_over.id in array coalesce(batch.p_busy, '{}') loop
      return next left_over;
    end loop;
  end if;
  if p_slots > 0 or freed is not null then
    return query select * from private.claim(p_worker, p_slots, p_lease, p_recordings_only, freed);
  end if;
end
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

-- The one place that says what failed attempts become. The caller holds the locks. Without a reason the worker was lost.
create function private.end_attempts(
  p_jobs uuid[], p_reason text, p_retry boolean, p_at_once boolean
) returns table (id uuid, session_id uuid, status text, error text)
language sql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
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
  perform private.lock_line(p_job);
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
  perform from public.projects p where p.id = job.project_id and p.status <> 'deleted';
  if not found then
    raise exception 'the project of job % is deleted', p_job using errcode = 'MV004';
  end if;
  update public.coding_jobs j
  set status = 'pending', retry_count = 0, run_at = null, error = null
  where j.id = p_job;
end
$$;

create function private.revive_dead(p_jobs uuid[]) returns uuid[]
language sql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
  with revived as (
    update public.coding_jobs j
    set status = 'pending', retry_count = 0, run_at = null, error = null
    where j.id = any (p_jobs) and j.status = 'failed'
    returning j.id
  )
  select array_agg(r.id) from revived r
$$;

-- Up to p_limit of the dead jobs that are left in projects that are still there, the longest dead first; gives back
-- which. None: there is no more that can live again. Who has as many sessions open as allowed keeps theirs dead, but
-- for those of open sessions; nobody else's stay so for that, however many they are.
create function public.retry_all_dead(p_limit integer default 1000) returns setof uuid
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  dead uuid[];
  revived uuid[];
  crowded uuid[] := array[]::uuid[];
  refused uuid[] := array[]::uuid[];
  one record;
begin
  loop
    select array_agg(d.id) into dead from (
      select j.id from public.coding_jobs j
      cross join lateral (
        select p.id from public.projects p
        where p.id = j.project_id and p.status <> 'deleted' limit 1
      ) line
      cross join lateral (
        select o.status in ('pending', 'active', 'paused') and o.expires_at > statement_timestamp() as is_open
        from public.coding_sessions o where o.id = j.session_id limit 1
      ) s
      where j.status = 'failed' and (s.is_open or j.user_id <> all (crowded))
        and j.session_id <> all (refused)
      order by j.completed_at limit p_limit
    ) d;
    exit when dead is null;
    perform private.lock_lines(dead);
    perform from public.coding_jobs j where j.id = any (dead) order by j.id for no key update;
    begin
      revived := private.revive_dead(dead);
    exception when sqlstate 'MV007' then
      for one in
        select j.session_id, j.user_id, array_agg(j.id) as jobs from public.coding_jobs j
        where j.id = any (dead) group by j.session_id, j.user_id order by min(j.completed_at)
      loop
        begin
          revived := revived || private.revive_dead(one.jobs);
        exception when sqlstate 'MV007' then
          crowded := array_remove(crowded, one.user_id) || one.user_id;
          refused := refused || one.session_id;
        end;
      end loop;
    end;
    exit when revived is not null;
  end loop;
  return query select unnest(revived);
end
$$;

-- The caller holds the projects' locks and the jobs'. A lost worker counts as an attempt.
create function private.take_back(p_jobs uuid[]) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  ended record;
begin
  select
    array_agg(e.id order by e.id) as jobs,
    array_agg(e.session_id order by e.id) as sessions,
    array_agg('error'::text) as types,
    array_agg(jsonb_build_object(
      'message', e.error,
      'remedy', '',
      'will_retry', e.status = 'pending',
      'is_cancelled', e.status = 'cancelled'
    ) order by e.id) as datas
  into ended from private.end_attempts(p_jobs, null, true, true) e;
  if ended.jobs is not null then
    perform private.append_each(ended.sessions, ended.types, ended.datas, ended.jobs);
    return query select unnest(ended.jobs);
  end if;
end
$$;

create function public.reclaim_jobs(p_limit integer default 100) returns setof uuid
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
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
  return query select private.take_back(late);
end
$$;

-- A worker whose process was seen dead by somebody on its host: its leases end now. Nobody calls this for a worker
-- that is merely silent.
create function public.reclaim_worker(p_worker text, p_host_key text) returns setof uuid
language plpgsql set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  held uuid[];
begin
  update public.workers w set gone_at = coalesce(w.gone_at, clock_timestamp())
  where w.id = p_worker and w.host_key = p_host_key;
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
  return query select private.take_back(held);
end
$$;

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

-- As dear with a million jobs as with one. What rests in deleted projects counts as pending, and does not age.
create function public.get_queue_stats() returns table (
  pending bigint,
  processing bigint,
  completed bigint,
  failed bigint,
  cancelled bigint,
  oldest_pending_seconds double precision
) language sql stable set search_path = '' as $$
  select
    coalesce(sum(c.pending), 0)::bigint,
    coalesce(sum(c.processing), 0)::bigint,
    coalesce(sum(c.completed), 0)::bigint,
    coalesce(sum(c.failed), 0)::bigint,
    coalesce(sum(c.cancelled), 0)::bigint,
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

revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
revoke all on function private.recount_jobs() from service_role;
revoke all on function
  public.enqueue_job, public.enqueue_jobs, public.claim_jobs, public.claim_next_job, public.renew_jobs,
  public.held_jobs, public.complete_job, public.complete_jobs, public.finish_and_claim, public.fail_job,
  public.fail_attempt, public.cancel_attempt, public.hand_back_attempt, public.cancel_job, public.retry_job,
  public.retry_all_dead, public.reclaim_jobs, public.reclaim_worker, public.next_due_seconds,
  public.get_queue_stats
from public, anon, authenticated;
grant execute on function
  public.enqueue_job, public.enqueue_jobs, public.claim_jobs, public.claim_next_job, public.renew_jobs,
  public.held_jobs, public.complete_job, public.complete_jobs, public.finish_and_claim, public.fail_job,
  public.fail_attempt, public.cancel_attempt, public.hand_back_attempt, public.cancel_job, public.retry_job,
  public.retry_all_dead, public.reclaim_jobs, public.reclaim_worker, public.next_due_seconds,
  public.get_queue_stats
to service_role;
