-- What an attempt writes: events, revisions with their files, and money.
--
-- A batch of events updates its session's counter once and gets consecutive numbers; a repeated batch is recognised by
-- its id. A job is completed in one transaction with its revision: fence, head, files, events and status. A repeated call
-- by the same attempt returns the same answer, as the first answer may have been lost. Contents are stored once per
-- project, by their hash. Money is reserved under the job's row lock before a request, and settled after it; what a dead
-- attempt reserved counts as spent, because its real cost is unknown.

-- The caller must check that the job belongs to that session.
create function private.append(
  p_session uuid, p_types text[], p_datas jsonb[], p_job uuid, p_batch uuid default null
) returns bigint language plpgsql
set search_path = '' set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  added integer := cardinality(p_types);
  newest bigint;
begin
  with counted as (
    update public.coding_sessions s set last_seq = s.last_seq + added
    where s.id = p_session returning s.last_seq, s.user_id
  ), written as (
    insert into public.session_events (session_id, seq, job_id, user_id, event_type, data, batch_id)
    select
      p_session, c.last_seq - added + e.n, p_job, c.user_id, e.type, e.data, case e.n when 1 then p_batch end
    from counted c cross join unnest(p_types, p_datas) with ordinality as e (type, data, n)
  )
  select c.last_seq into newest from counted c;
  if not found then
    raise exception 'there is no session %', p_session using errcode = 'MV004';
  end if;
  return newest;
end
$$;

create function public.append_events(
  p_session uuid,
  p_types text[],
  p_datas jsonb[],
  p_job uuid default null,
  p_attempt integer default null,
  p_worker text default null,
  p_batch uuid default null
) returns bigint language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
  newest bigint;
begin
  if p_attempt is not null then
    job := private.fence(p_job, p_attempt, p_worker);
  elsif p_job is not null then
    select * into job from public.coding_jobs j where j.id = p_job;
  end if;
  if job.session_id <> p_session then
    raise exception 'job % is of another session', p_job using errcode = 'foreign_key_violation';
  end if;
  if p_batch is not null then
    select s.last_seq into newest
    from public.coding_sessions s where s.id = p_session for no key update;
    if exists (
      select from public.session_events e where e.session_id = p_session and e.batch_id = p_batch
    ) then
      return newest;
    end if;
  end if;
  return private.append(p_session, p_types, p_datas, p_job, p_batch);
end
$$;

-- The caller must hold the project's lock. `p_contents` are the contents that the project has not stored yet.
create function private.add_revision(
  p_project uuid,
  p_source text,
  p_job public.coding_jobs,
  p_report jsonb,
  p_paths text[],
  p_hashes bytea[],
  p_contents bytea[]
) returns uuid language plpgsql set search_path = '' as $$
declare
  owner uuid;
  parent uuid;
  revision uuid;
begin
  select p.user_id, p.head_revision_id into owner, parent
  from public.projects p where p.id = p_project;
  insert into public.project_revisions (
    project_id, user_id, parent_id, source, job_id, attempt, check_report
  )
  values (p_project, owner, parent, p_source, p_job.id, p_job.attempt, p_report)
  returning id into revision;
  insert into public.project_blobs (project_id, user_id, sha256, content)
  select distinct p_project, owner, pg_catalog.sha256(c), c from unnest(p_contents) as c
  on conflict do nothing;
  insert into public.project_files (revision_id, path, project_id, user_id, sha256)
  select revision, f.path, p_project, owner, f.hash from unnest(p_paths, p_hashes) as f (path, hash);
  update public.projects p set head_revision_id = revision where p.id = p_project;
  return revision;
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

create function private.require_head(p_project uuid, p_base uuid) returns void
language plpgsql set search_path = '' as $$
begin
  perform from public.projects p
  where p.id = p_project and p.head_revision_id is not distinct from p_base;
  if not found then
    raise exception 'the head of project % is no longer %', p_project, p_base
      using errcode = 'MV002';
  end if;
end
$$;

create function public.complete_attempt(
  p_job uuid,
  p_attempt integer,
  p_worker text,
  p_base uuid,
  p_report jsonb,
  p_paths text[],
  p_hashes bytea[],
  p_contents bytea[],
  p_types text[],
  p_datas jsonb[],
  p_result jsonb default '{}'
) returns uuid language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
  revision uuid;
begin
  perform private.lock_lines(array[p_job]);
  select * into job from public.coding_jobs j
  where j.id = p_job and j.status = 'completed' and j.attempt = p_attempt and j.worker = p_worker;
  if found then
    return (job.result ->> 'revision')::uuid;
  end if;
  job := private.fence(p_job, p_attempt, p_worker);
  perform private.require_head(job.project_id, p_base);
  revision := private.add_revision(
    job.project_id, 'agent', job, p_report, p_paths, p_hashes, p_contents
  );
  perform private.append(
    job.session_id,
    p_types,
    array(
      select case
        when e.type = 'completion' then e.data || jsonb_build_object('revision', revision)
        else e.data
      end
      from unnest(p_types, p_datas) with ordinality as e (type, data, n) order by e.n
    ),
    p_job
  );
  update public.coding_jobs j
  set status = 'completed',
      error = null,
      result = coalesce(p_result, '{}') || jsonb_build_object('revision', revision)
  where j.id = p_job;
  return revision;
end
$$;

-- Commits the first files of a project. If it has a head already, that one is returned.
create function public.commit_template(
  p_job uuid, p_attempt integer, p_worker text, p_paths text[], p_hashes bytea[], p_contents bytea[]
) returns uuid language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs;
  head uuid;
begin
  perform private.lock_lines(array[p_job]);
  job := private.fence(p_job, p_attempt, p_worker);
  select p.head_revision_id into head from public.projects p where p.id = job.project_id;
  if head is not null then
    return head;
  end if;
  return private.add_revision(
    job.project_id, 'template', job, null, p_paths, p_hashes, p_contents
  );
end
$$;

-- Commits the person's own edits, without checks.
create function public.commit_person(
  p_project uuid, p_base uuid, p_paths text[], p_hashes bytea[], p_contents bytea[]
) returns uuid language plpgsql set search_path = '' as $$
begin
  perform from public.projects p where p.id = p_project and p.status <> 'deleted' for no key update;
  if not found then
    raise exception 'there is no project %', p_project using errcode = 'MV004';
  end if;
  perform private.require_head(p_project, p_base);
  return private.add_revision(p_project, 'person', null, null, p_paths, p_hashes, p_contents);
end
$$;

-- Commits an earlier version's files as a new revision on top of the head; the versions in between stay in the history.
create function public.commit_restore(p_project uuid, p_base uuid, p_revision uuid) returns uuid
language plpgsql set search_path = '' as $$
declare
  paths text[];
  hashes bytea[];
begin
  perform from public.projects p where p.id = p_project and p.status <> 'deleted' for no key update;
  if not found then
    raise exception 'there is no project %', p_project using errcode = 'MV004';
  end if;
  perform private.require_head(p_project, p_base);
  perform from public.project_revisions r where r.id = p_revision and r.project_id = p_project;
  if not found then
    raise exception 'the project has no revision %', p_revision using errcode = 'MV004';
  end if;
  select array_agg(f.path order by f.path), array_agg(f.sha256 order by f.path) into paths, hashes
  from public.project_files f where f.revision_id = p_revision;
  return private.add_revision(
    p_project, 'restore', null, null, coalesce(paths, '{}'), coalesce(hashes, '{}'), '{}'
  );
end
$$;

create function public.reserve_turn(
  p_job uuid,
  p_attempt integer,
  p_worker text,
  p_turn integer,
  p_model text,
  p_usd numeric,
  p_default_budget numeric default null
) returns void language plpgsql set search_path = '' as $$
declare
  job public.coding_jobs := private.fence(p_job, p_attempt, p_worker);
  budget numeric := coalesce(job.budget_usd, p_default_budget);
  spent numeric;
begin
  select coalesce(sum(
    case when t.settled_at is null then t.reserved_usd else coalesce(t.cost_usd, t.reserved_usd) end
  ), 0) into spent
  from public.job_turns t
  where t.job_id = p_job and (t.attempt, t.turn) <> (p_attempt, p_turn);
  if spent + p_usd > budget then
    raise exception 'USD % are spent or reserved, % more would exceed the budget of %', spent, p_usd, budget
      using errcode = 'MV003';
  end if;
  insert into public.job_turns (job_id, attempt, turn, project_id, user_id, model, reserved_usd)
  values (p_job, p_attempt, p_turn, job.project_id, job.user_id, p_model, p_usd)
  on conflict (job_id, attempt, turn) do update
  set model = excluded.model, reserved_usd = excluded.reserved_usd
  where public.job_turns.settled_at is null;
  if not found then
    raise exception 'turn % of attempt % is settled', p_turn, p_attempt using errcode = 'MV006';
  end if;
end
$$;

-- Not fenced, as the cost of a lost attempt counts too.
create function public.settle_turn(
  p_job uuid, p_attempt integer, p_turn integer, p_record jsonb, p_usage jsonb, p_cost_usd numeric
) returns void language plpgsql set search_path = '' as $$
begin
  update public.job_turns t
  set record = p_record, usage = p_usage, cost_usd = p_cost_usd, settled_at = clock_timestamp()
  where t.job_id = p_job and t.attempt = p_attempt and t.turn = p_turn;
  if not found then
    raise exception 'turn % of attempt % of job % was never reserved', p_turn, p_attempt, p_job
      using errcode = 'MV004';
  end if;
end
$$;

revoke all on all functions in schema private from public;
grant execute on all functions in schema private to service_role;
revoke all on function
  public.append_events, public.complete_attempt, public.commit_template, public.commit_person,
  public.commit_restore, public.reserve_turn, public.settle_turn
from public, anon, authenticated;
grant execute on function
  public.append_events, public.complete_attempt, public.commit_template, public.commit_person,
  public.commit_restore, public.reserve_turn, public.settle_turn
to service_role;
